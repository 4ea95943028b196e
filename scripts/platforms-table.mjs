// Writes docs/platforms.md from the records that check-platforms.mjs and check-hosts.mjs leave in build/platforms/*.json:
// arrays of { area, combination, how, result: "pass" | "fail" | "skip", detail, date? }.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const folder = path.join(root, "build", "platforms");
const records = readdirSync(folder)
  .filter((name) => name.endsWith(".json"))
  .flatMap((name) => JSON.parse(readFileSync(path.join(folder, name), "utf8")));

const prebuilts = "Prebuilt addons";
if (!records.some(({ area }) => area === prebuilts)) {
  console.error("There are no results of the prebuilt addons; run node scripts/check-platforms.mjs first");
  process.exit(1);
}

const intro = `# Platforms

What was run, where and how. This page is made by \`npm run check:platforms\` and \`node scripts/check-hosts.mjs\`.

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

function section(area) {
  const rows = records.filter((record) => record.area === area);
  const dates = [...new Set(rows.map(({ date }) => date).filter(Boolean))].sort();
  const lines = rows.map(
    ({ combination, how, result, detail }) => `| ${[combination, how, results[result], detail].map(cell).join(" | ")} |`,
  );
  const checked = dates.length > 0 ? [`Checked on ${dates.join(", ")}.`, ""] : [];
  const title = `## ${area[0].toUpperCase()}${area.slice(1)}`;
  return [title, "", ...checked, "| what | how | result | detail |", "|---|---|---|---|", ...lines, ""].join("\n");
}

const areas = [...new Set(records.map(({ area }) => area))].sort((a, b) => (b === prebuilts) - (a === prebuilts));
writeFileSync(path.join(root, "docs", "platforms.md"), [intro, ...areas.map(section)].join("\n"));
console.log(`docs/platforms.md: ${records.length} records in ${areas.length} areas`);
