// The ranking: one list item a document, with its bar, its figures and its text.

/** @typedef {import("./api.js").Result} Result */

/** Characters of a text that are shown at first, and of context before a highlighted part. */
const shownLength = 480;
const contextLength = 80;

/**
 * @param {string} name
 * @param {string} className
 * @param {(Node | string)[]} children
 */
function element(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/** @param {number} value */
const logitText = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

/** @param {number} value */
const scoreText = (value) => (value !== 0 && Math.abs(value) < 0.0001 ? value.toExponential(2) : value.toFixed(4));

/**
 * What a screen reader and an eye read first: score, logit, tokens, where the document stood before.
 * @param {Result} result
 * @param {number} rank
 */
function figures(result, rank) {
  const line = element("div", "figures", element("span", "", "score ", element("strong", "", scoreText(result.relevance_score))));
  if (result.logit !== undefined) line.append(element("span", "", `logit ${logitText(result.logit)}`));
  if (result.tokens !== undefined) line.append(element("span", "", `${result.tokens} tokens`));
  const moved = result.index + 1 - rank;
  const from = `document ${result.index + 1}`;
  line.append(element("span", moved > 0 ? "up" : "", moved === 0 ? from : `${from}, ${moved > 0 ? "up" : "down"} ${Math.abs(moved)}`));
  if (result.chunk?.count !== undefined && result.chunk.count > 1) line.append(element("span", "", `best of ${result.chunk.count} parts`));
  if (result.truncated) line.append(element("span", "flag", "cut: not all of it was read"));
  return line;
}

/**
 * The start of the next word at or after an offset.
 * @param {string} text
 * @param {number} offset
 */
function wordStart(text, offset) {
  if (offset <= 0) return 0;
  const space = text.slice(offset, offset + contextLength).search(/\s/);
  return space < 0 ? offset : offset + space + 1;
}

/**
 * The text, with the part that was scored marked and what was not read behind scissors.
 * @param {string} text
 * @param {Result} result
 * @param {boolean} whole false: an excerpt around what matters
 */
function textParts(text, result, whole) {
  const marked = result.chunk && (result.chunk.start > 0 || result.chunk.end < text.length) ? result.chunk : undefined;
  const readEnd = marked ? undefined : result.read_end !== undefined && result.read_end < text.length ? result.read_end : undefined;
  const from = whole || !marked ? 0 : wordStart(text, marked.start - contextLength);
  const to = whole || text.length <= from + shownLength ? text.length : wordStart(text, from + shownLength);
  /** @type {(Node | string)[]} */
  const parts = [];
  if (from > 0) parts.push("… ");
  if (marked) {
    parts.push(text.slice(from, marked.start), element("mark", "", text.slice(marked.start, Math.min(marked.end, to))));
    if (to > marked.end) parts.push(text.slice(marked.end, to));
  } else if (readEnd !== undefined && readEnd < to) {
    parts.push(
      text.slice(from, readEnd),
      element("span", "scissors", " ✂ read to here "),
      element("span", "unread", text.slice(readEnd, to)),
    );
  } else parts.push(text.slice(from, to));
  if (to < text.length) parts.push(" …");
  return { parts, excerpt: from > 0 || to < text.length };
}

/**
 * @param {Result} result
 * @param {string} text
 */
function textBlock(result, text) {
  const paragraph = element("p", "text");
  const first = textParts(text, result, false);
  paragraph.append(...first.parts);
  if (!first.excerpt) return [paragraph];
  const more = element("button", "more", "Show all of it");
  more.setAttribute("type", "button");
  more.setAttribute("aria-expanded", "false");
  more.addEventListener("click", () => {
    const open = more.getAttribute("aria-expanded") !== "true";
    more.setAttribute("aria-expanded", String(open));
    more.textContent = open ? "Show less" : "Show all of it";
    paragraph.replaceChildren(...textParts(text, result, open).parts);
  });
  return [paragraph, more];
}

/**
 * Bars from 0 to 1: the score itself, or the logit between the lowest and the highest of this ranking.
 * @param {readonly Result[]} results
 * @param {"score" | "logit"} by
 */
function shares(results, by) {
  if (by === "score") return results.map((result) => Math.min(1, Math.max(0, result.relevance_score)));
  const logits = results.map((result) => result.logit ?? 0);
  const low = Math.min(...logits);
  const range = Math.max(...logits) - low || 1;
  return logits.map((logit) => 0.02 + (0.98 * (logit - low)) / range);
}

/**
 * @param {HTMLElement} list
 * @param {readonly Result[]} results best first
 * @param {readonly string[]} documents as they were sent
 * @param {"score" | "logit"} by
 */
export function showResults(list, results, documents, by) {
  const widths = shares(results, by);
  list.replaceChildren(
    ...results.map((result, i) => {
      const fill = element("span", "");
      fill.style.setProperty("--share", String(widths[i] ?? 0));
      const bar = element("div", "bar", fill);
      bar.setAttribute("aria-hidden", "true"); // the figures say it
      const rank = element("div", "rank", String(i + 1));
      const body = element("div", "", figures(result, i + 1), bar, ...textBlock(result, documents[result.index] ?? ""));
      return element("li", "", rank, body);
    }),
  );
}

/**
 * Draws the line below which documents would be dropped.
 * @param {HTMLElement} list
 * @param {readonly Result[]} results
 * @param {number} kept
 * @returns {string} What the line means, in words.
 */
export function showCut(list, results, kept) {
  list.querySelector(".cut-line")?.remove();
  const items = [...list.children];
  for (const [i, item] of items.entries()) item.classList.toggle("below", i >= kept);
  const last = results[kept - 1];
  const words =
    kept >= results.length
      ? `keeps all ${results.length}`
      : `keeps ${kept} of ${results.length}${last ? `: scores from ${scoreText(last.relevance_score)}` : ""}`;
  const next = items[kept];
  if (next) {
    const line = element("li", "cut-line", `✂ cut here, ${words}`);
    line.setAttribute("aria-hidden", "true"); // the slider's output says it
    next.before(line);
  }
  return words;
}
