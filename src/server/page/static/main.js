// The page: reads the form, asks the server, shows the ranking.
import { ApiError, listModels, rerank, rerankUrl } from "./api.js";
import { asCurl, asFetch } from "./copy.js";
import { showError, ui } from "./elements.js";
import { exampleDocuments, exampleQuery } from "./example.js";
import { readRequest, setUpForm } from "./form.js";
import { setUpRanking, showAnswer, shownAnswer } from "./ranking.js";
import { setUpTheme } from "./theme.js";

/** @type {AbortController | undefined} */
let running;

async function run() {
  showError("");
  let request;
  try {
    request = readRequest();
  } catch (error) {
    showError(error);
    return;
  }
  const call = new AbortController();
  running?.abort();
  running = call;
  ui.cancel.hidden = false;
  ui.status.textContent = `Ranking ${request.documents.length} documents …`;
  try {
    const { answer, times } = await rerank(request, ui.key.value, call.signal);
    showAnswer(answer, request.documents, times);
  } catch (error) {
    if (running === call) fail(error);
  } finally {
    if (running === call) {
      running = undefined;
      ui.cancel.hidden = true;
    }
  }
}

/** @param {unknown} error */
function fail(error) {
  ui.status.textContent = shownAnswer() ? "The ranking below is that of the call before." : "There is no ranking.";
  if (error instanceof DOMException && error.name === "AbortError") ui.status.textContent = "Cancelled.";
  else if (error instanceof ApiError) {
    const wait = error.retryAfterMs === undefined ? "" : ` Try again in ${Math.max(0.1, error.retryAfterMs / 1000).toFixed(1)} s.`;
    showError(`${error.message}${wait}`);
    if (error.status === 401) ui.key.focus();
  } else showError(`The server does not answer: ${/** @type {Error} */ (error).message}`);
}

async function showModels() {
  try {
    const names = await listModels(ui.key.value);
    ui.model.replaceChildren(...names.map((name) => new Option(name, name)));
    showError("");
  } catch (error) {
    fail(error);
  }
}

/**
 * @param {HTMLButtonElement} button
 * @param {() => string} make
 */
function copyOnClick(button, make) {
  const label = button.textContent ?? "";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(make());
      button.textContent = "Copied";
    } catch (error) {
      button.textContent = "Not copied";
      showError(error);
    }
    setTimeout(() => {
      button.textContent = label;
    }, 1500);
  });
}

ui.form.addEventListener("submit", (event) => {
  event.preventDefault();
  void run();
});
ui.cancel.addEventListener("click", () => {
  running?.abort();
  ui.run.focus();
});
ui.key.addEventListener("change", showModels);
copyOnClick(ui.copyCurl, () => asCurl(rerankUrl, readRequest(), ui.key.value !== ""));
copyOnClick(ui.copyFetch, () => asFetch(rerankUrl, readRequest(), ui.key.value !== ""));
copyOnClick(ui.copyResults, () => JSON.stringify(shownAnswer(), null, 2));

setUpTheme(ui.theme);
setUpRanking();
setUpForm(exampleQuery, exampleDocuments);
void showModels();
