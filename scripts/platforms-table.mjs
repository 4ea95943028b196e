// Writes docs/platforms.md from the records that check-platforms.mjs, check-hosts.mjs and others leave (platform-records.mjs).
// An area without records here keeps the section that the page has.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { readAllRecords } from "./platform-records.mjs";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const records = readAllRecords();
const page = path.join(root, "docs", "platforms.md");
const prebuilts = "Prebuilt addons";
if (!records.some(({ area }) => area === prebuilts)) {
  console.error("There are no results of the prebuilt addons; run node scripts/check-platforms.mjs first");
  process.exit(1);
}

const intro = `# Platforms

What was run, where and how. \`npm run check:platforms\`, \`npm run check:hosts\` and \`npm run soak\` leave records, from which
\`node scripts/platforms-table.mjs\` makes this page.

The package carries an addon for each platform under "${prebuilts}", made on Linux x64. They run on Node 20.19 and newer,
and on:

- Linux with glibc 2.34 and libstdc++ of GCC 11 or newer: RHEL 9, Ubuntu 22.04, Debian 12, Amazon Linux 2023
- Windows 10 or newer, with the Microsoft Visual C++ 2015-2022 Redistributable, which the ggml libraries need
- macOS 14 or newer, which the ggml libraries need. **The macOS addons have never been run.**

Elsewhere (Alpine Linux and others with musl, older glibc, Windows on ARM) \`npx bge-reranker build\` compiles the addon,
with ggml compiled in where no ggml libraries fit. That needs a C++ compiler and git. Visual Studio's own compiler is
provided for in the build, but has not been tried.

"Emulated" is the real program of the other platform under qemu or wine: right answers there are evidence, not proof, and
speed there says nothing.
`;

const results = { pass: "pass", fail: "**fail**", skip: "not run" };
const cell = (text) =>
  String(text)
    .trim()
    .replaceAll("|", "\\|")
    .replaceAll(/\s*\n\s*/g, " ");

/** Rows of one combination stand together, in the order in which combinations came first. */
function grouped(rows) {
  const order = [...new Set(rows.map(({ combination }) => combination))];
  return rows.toSorted((a, b) => order.indexOf(a.combination) - order.indexOf(b.combination));
}

const titleOf = (area) => area[0].toUpperCase() + area.slice(1);

function section(area) {
  const rows = grouped(records.filter((record) => record.area === area));
  const dates = [...new Set(rows.map(({ date }) => date).filter(Boolean))].sort();
  const lines = rows.map(
    ({ combination, how, result, detail }) => `| ${[combination, how, results[result], detail].map(cell).join(" | ")} |`,
  );
  // The addons' rows say themselves where they ran.
  const checked = area === prebuilts ? dates : [`${process.platform}-${process.arch}`, ...dates];
  const head = [`## ${titleOf(area)}`, "", `Checked: ${checked.join(", ")}.`, "", "| what | how | result | detail |", "|---|---|---|---|"];
  return [...head, ...lines, ""].join("\n");
}

const previous = existsSync(page) ? readFileSync(page, "utf8").split(/^(?=## )/m) : [];
const sections = new Map(previous.slice(1).map((text) => [text.slice(3, text.indexOf("\n")), text]));
for (const { area } of records) sections.set(titleOf(area), section(area));
const rank = ([title]) => (title === prebuilts ? 0 : 1);
const ordered = [...sections].sort((a, b) => rank(a) - rank(b)).map(([, text]) => `${text.trimEnd()}\n`);
writeFileSync(page, [intro, ...ordered].join("\n"));
console.log(`docs/platforms.md: ${sections.size} sections, ${records.length} records`);
