// What the form says: the documents in it, the files dropped on it, the request it makes.
import { parseDocuments } from "./documents.js";
import { showError, ui } from "./elements.js";

const formNames = { lines: "one a line", paragraphs: "one a paragraph", jsonl: "JSONL" };

const readDocuments = () => parseDocuments(ui.documents.value, /** @type {import("./documents.js").Form} */ (ui.documentsForm.value));

function showCount() {
  try {
    const { documents, form } = readDocuments();
    ui.count.textContent = `${documents.length} ${documents.length === 1 ? "document" : "documents"}, ${formNames[form]}`;
  } catch (error) {
    ui.count.textContent = /** @type {Error} */ (error).message;
  }
}

/** The body of the call. Options at the server's defaults are left out. */
export function readRequest() {
  const { documents } = readDocuments();
  if (documents.length === 0) throw new Error("There are no documents to rank.");
  return {
    ...(ui.model.value !== "" && { model: ui.model.value }),
    query: ui.query.value,
    documents,
    ...(ui.topN.value !== "" && { top_n: Number(ui.topN.value) }),
    ...(ui.overflow.value !== "truncate" && { overflow: ui.overflow.value }),
  };
}

/** @param {string} text */
function setDocuments(text) {
  ui.documents.value = text;
  showCount();
}

/** @param {File | undefined} file */
async function takeFile(file) {
  if (!file) return;
  try {
    const text = await file.text();
    if (/\.(jsonl|ndjson)$/i.test(file.name)) ui.documentsForm.value = "jsonl";
    else if (ui.documentsForm.value === "jsonl") ui.documentsForm.value = "auto";
    setDocuments(text);
    ui.documents.focus();
  } catch (error) {
    showError(error);
  }
}

/** A file dropped beside the field must not replace the page; dragged text goes where the browser puts it. */
function takeDrops() {
  const hasFile = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
  document.addEventListener("dragover", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    ui.drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) ui.drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    ui.drop.classList.remove("over");
    void takeFile(event.dataTransfer?.files[0]);
  });
}

/**
 * @param {string} query
 * @param {readonly string[]} documents shown at first
 */
export function setUpForm(query, documents) {
  ui.query.value = query;
  setDocuments(documents.join("\n"));
  ui.documents.addEventListener("input", showCount);
  ui.documentsForm.addEventListener("change", showCount);
  ui.file.addEventListener("change", () => takeFile(ui.file.files?.[0]));
  ui.open.addEventListener("click", () => ui.file.click());
  ui.clear.addEventListener("click", () => {
    setDocuments("");
    ui.documents.focus();
  });
  ui.form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ui.form.requestSubmit();
  });
  takeDrops();
}
