// Takes the records that check-platforms.mjs, check-builds.mjs and others leave (platform-records.mjs) into docs/platforms.json
// and writes docs/platforms.md from that. What was not run anew keeps the record of its last run, with its date.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { readAllRecords } from "./platform-records.mjs";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const kept = path.join(root, "docs", "platforms.json");
const page = path.join(root, "docs", "platforms.md");
const prebuilts = "Prebuilt addons";

const intro = `# Platforms

What was run, where and how. \`npm run check:platforms\`, \`check:builds\`, \`check:hosts\`, \`sanitize\` and \`soak\` leave records,
which \`node scripts/checks/platforms-table.mjs\` takes into platforms.json and into this page. Each row has the day of its last run.

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

/** A combination of a prebuilt addon has one row, however it was run. */
const keyOf = ({ area, combination, how, on }) => (area === prebuilts ? combination : [area, combination, how, on].join("\n"));

/** New records take the places of their old ones; a check that could not be run takes no result away. */
function merged(old, fresh) {
  const rows = new Map(old.map((record) => [keyOf(record), record]));
  for (const record of fresh) {
    const previous = rows.get(keyOf(record));
    if (!previous || (record.date >= previous.date && (record.result !== "skip" || previous.result === "skip")))
      rows.set(keyOf(record), record);
  }
  return [...rows.values()];
}

/** Rows of one combination stand together, in the order in which combinations came first. */
function grouped(rows) {
  const order = [...new Set(rows.map(({ combination }) => combination))];
  return rows.toSorted((a, b) => order.indexOf(a.combination) - order.indexOf(b.combination));
}

function section(area, rows) {
  const lines = grouped(rows).map(
    ({ combination, how, result, date, detail }) => `| ${[combination, how, results[result], date, detail].map(cell).join(" | ")} |`,
  );
  const machines = [...new Set(rows.map(({ on }) => on))].sort();
  const title = area[0].toUpperCase() + area.slice(1);
  const head = [
    `## ${title}`,
    "",
    `Checked on ${machines.join(", ")}.`,
    "",
    "| what | how | result | checked | detail |",
    "|---|---|---|---|---|",
  ];
  return [...head, ...lines, ""].join("\n");
}

const old = existsSync(kept) ? JSON.parse(readFileSync(kept, "utf8")) : [];
const fresh = readAllRecords();
const records = merged(old, fresh);
const areas = [...new Set([prebuilts, ...records.map(({ area }) => area)])];
const sections = areas.map((area) =>
  section(
    area,
    records.filter((record) => record.area === area),
  ),
);
writeFileSync(kept, `[\n${records.map((record) => `  ${JSON.stringify(record)}`).join(",\n")}\n]\n`);
writeFileSync(page, [intro, ...sections].join("\n"));
console.log(`docs/platforms.md: ${areas.length} sections, ${records.length} records, ${fresh.length} of them from this checkout`);
