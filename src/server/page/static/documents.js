// What was pasted or dropped, as documents: one a line, one a paragraph, or JSONL.

/** @typedef {"auto" | "lines" | "paragraphs" | "jsonl"} Form */

/** Fields that hold the text of a JSONL record, the first one found. They are those that datasets use. */
const textFields = ["text", "document", "passage", "content", "body", "contents"];

/**
 * @param {string} text
 * @param {Form} form
 * @returns {{ documents: string[], form: Exclude<Form, "auto"> }} Blank documents are left out.
 * @throws {SyntaxError} A line of JSONL that is no document; the message names the line.
 */
export function parseDocuments(text, form) {
  const chosen = form === "auto" ? guessForm(text) : form;
  if (chosen === "jsonl") return { documents: parseJsonl(text), form: chosen };
  const parts = text.split(chosen === "lines" ? /\r?\n/ : /\r?\n[ \t]*\r?\n\s*/);
  return { documents: parts.map((part) => part.trim()).filter((part) => part !== ""), form: chosen };
}

/**
 * JSONL when the first line that is not blank is a JSON object or string; else one document a line.
 * @param {string} text
 */
function guessForm(text) {
  const first = text.trimStart().split("\n", 1)[0]?.trim() ?? "";
  if (!/^[{"]/.test(first)) return "lines";
  try {
    JSON.parse(first);
    return "jsonl";
  } catch {
    return first.startsWith("{") ? "jsonl" : "lines";
  }
}

/** @param {string} text */
function parseJsonl(text) {
  /** @type {string[]} */
  const documents = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    let record;
    try {
      record = JSON.parse(line);
    } catch (error) {
      throw new SyntaxError(`Line ${i + 1} is not JSON: ${/** @type {Error} */ (error).message}`);
    }
    documents.push(textOf(record, i + 1));
  }
  return documents;
}

/**
 * @param {unknown} record
 * @param {number} line
 */
function textOf(record, line) {
  if (typeof record === "string") return record;
  if (record !== null && typeof record === "object" && !Array.isArray(record)) {
    const fields = /** @type {Record<string, unknown>} */ (record);
    const name = textFields.find((field) => typeof fields[field] === "string");
    if (name) {
      const text = String(fields[name]);
      return typeof fields["title"] === "string" && fields["title"] !== "" ? `${fields["title"]}\n${text}` : text;
    }
  }
  throw new SyntaxError(`Line ${line} has no text: expected a string, or an object with ${textFields.map((f) => `"${f}"`).join(", ")}`);
}
