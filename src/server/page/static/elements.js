// The page's controls and places to write to, by name and type. One that is missing is an error at once.

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 */
export function find(id, type) {
  const node = document.getElementById(id);
  if (!(node instanceof type)) throw new Error(`No #${id} on the page`);
  return node;
}

export const ui = {
  theme: find("theme", HTMLSelectElement),
  form: find("form", HTMLFormElement),
  query: find("query", HTMLInputElement),
  documents: find("documents", HTMLTextAreaElement),
  documentsForm: find("documents-form", HTMLSelectElement),
  count: find("count", HTMLElement),
  drop: find("drop", HTMLElement),
  file: find("file", HTMLInputElement),
  open: find("open", HTMLButtonElement),
  clear: find("clear", HTMLButtonElement),
  model: find("model", HTMLSelectElement),
  overflow: find("overflow", HTMLSelectElement),
  topN: find("top-n", HTMLInputElement),
  key: find("key", HTMLInputElement),
  run: find("run", HTMLButtonElement),
  cancel: find("cancel", HTMLButtonElement),
  copyCurl: find("copy-curl", HTMLButtonElement),
  copyFetch: find("copy-fetch", HTMLButtonElement),
  error: find("error", HTMLElement),
  status: find("status", HTMLElement),
  warnings: find("warnings", HTMLElement),
  bars: find("bars", HTMLSelectElement),
  cut: find("cut", HTMLElement),
  cutAt: find("cut-at", HTMLInputElement),
  cutOutput: find("cut-output", HTMLOutputElement),
  list: find("list", HTMLElement),
  after: find("after", HTMLElement),
  times: find("times", HTMLElement),
  copyResults: find("copy-results", HTMLButtonElement),
};

/** @param {unknown} error Empty text takes the last one away. */
export function showError(error) {
  ui.error.textContent = error instanceof Error ? error.message : String(error);
  ui.error.hidden = ui.error.textContent === "";
}
