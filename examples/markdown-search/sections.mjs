// Markdown files cut at their headings: what is searched, and what a result shows.
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";

/** Sections of every Markdown file under a folder: `{ path, heading, line, text }`. */
export async function* readSections(folder) {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !/\.(md|mdx|markdown)$/i.test(entry.name)) continue;
    const file = path.join(entry.parentPath ?? entry.path, entry.name);
    if (file.includes("node_modules")) continue;
    const name = path.relative(folder, file);
    for (const section of cutAtHeadings(await readFile(file, "utf8"))) yield { path: name, ...section };
  }
}

/** A heading inside a fenced block is code. */
export function cutAtHeadings(markdown) {
  const sections = [];
  let current = { heading: "", line: 1, lines: [] };
  let fenced = false;
  for (const [i, line] of markdown.split("\n").entries()) {
    if (/^\s*(```|~~~)/.test(line)) fenced = !fenced;
    const heading = !fenced && /^#{1,6}\s+(.*)/.exec(line);
    if (heading) {
      sections.push(current);
      current = { heading: heading[1].trim(), line: i + 1, lines: [] };
    } else {
      current.lines.push(line);
    }
  }
  return [...sections, current]
    .map(({ heading, line, lines }) => ({ heading, line, text: lines.join("\n").trim() }))
    .filter(({ text }) => text !== "");
}
