// The last answer on the page: its ranking, warnings and times, and the line where the reader would cut.
import { ui } from "./elements.js";
import { showCut, showResults } from "./results.js";

/** @typedef {{ wall: number, queue: number | undefined, compute: number | undefined, tokens: number | undefined }} Times */

/** @type {{ answer: import("./api.js").Answer, documents: string[] } | undefined} */
let shown;

export const shownAnswer = () => shown?.answer;

/** @param {number} ms */
const duration = (ms) =>
  ms < 10 && !Number.isInteger(ms) ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;

/** @param {readonly unknown[]} warnings texts, or objects with a message */
function showWarnings(warnings) {
  const items = warnings.map((warning) => {
    const { message } = /** @type {{ message?: unknown }} */ (warning);
    const item = document.createElement("li");
    item.textContent = typeof warning === "string" ? warning : String(message ?? JSON.stringify(warning));
    return item;
  });
  ui.warnings.replaceChildren(...items);
  ui.warnings.hidden = items.length === 0;
}

/**
 * @param {import("./api.js").Answer} answer
 * @param {string[]} documents as they were sent
 * @param {Times} times
 */
export function showAnswer(answer, documents, times) {
  shown = { answer, documents };
  const { results, model, usage, meta } = answer;
  const tokens = times.tokens ?? usage?.total_tokens;
  showWarnings(meta?.warnings ?? []);
  ui.status.textContent = `${results.length} of ${documents.length} documents ranked in ${duration(times.wall)}${model ? ` by ${model}` : ""}.`;
  const parts = [
    times.queue === undefined ? "" : `in queue ${duration(times.queue)}`,
    times.compute === undefined ? "" : `computing ${duration(times.compute)}`,
    tokens === undefined ? "" : `${tokens.toLocaleString("en")} tokens`,
  ];
  ui.times.textContent = parts.filter(Boolean).join(" · ");
  ui.cutAt.max = String(results.length);
  ui.cutAt.value = String(results.length);
  ui.cut.hidden = results.length < 2;
  ui.after.hidden = results.length === 0;
  draw();
}

function draw() {
  if (!shown) return;
  showResults(ui.list, shown.answer.results, shown.documents, ui.bars.value === "logit" ? "logit" : "score");
  drawCut();
}

function drawCut() {
  if (!shown) return;
  const words = showCut(ui.list, shown.answer.results, Number(ui.cutAt.value));
  ui.cutOutput.textContent = words;
  ui.cutAt.setAttribute("aria-valuetext", words);
}

export function setUpRanking() {
  ui.bars.addEventListener("change", draw);
  ui.cutAt.addEventListener("input", drawCut);
}
