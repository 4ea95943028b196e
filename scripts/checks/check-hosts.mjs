// Packs the package, installs it with every package manager and runs the same programs on every host npm can supply;
// prints a table and keeps it in build/platforms/hosts.json.
//   node scripts/checks/check-hosts.mjs [--only pnpm,bun] [--quick] [--json] [--tarball FILE]
// Needs nothing installed when a tarball is given.
import { parseArgs } from "node:util";
import { combinations } from "./hosts/combinations.mjs";
import { Lab, Skip } from "./hosts/lab.mjs";
import { readRecords, writeRecords } from "./platform-records.mjs";

const { values } = parseArgs({
  options: { only: { type: "string" }, quick: { type: "boolean" }, json: { type: "boolean" }, tarball: { type: "string" } },
});
const words = values.only
  ?.toLowerCase()
  .split(",")
  .map((word) => word.trim());
const chosen = combinations.filter(
  ({ area, name, how, quick }) =>
    (!values.quick || quick) && (!words || words.some((word) => `${area} ${name} ${how}`.toLowerCase().includes(word))),
);
if (chosen.length === 0) {
  console.error(`No combination matches --only ${values.only}`);
  process.exit(2);
}

function check(lab, { area, name, how, run }) {
  const record = (result, detail) => ({ area, combination: name, how, result, detail });
  try {
    return record("pass", run(lab) ?? "");
  } catch (error) {
    return record(error instanceof Skip ? "skip" : "fail", error.message);
  }
}

// A run of some combinations replaces their rows and keeps the others.
function keep(record) {
  const isOld = (row) => row.area === record.area && row.combination === record.combination && row.how === record.how;
  writeRecords("hosts", [...readRecords("hosts").filter((row) => !isOld(row)), record]);
}

const print = values.json ? console.error : console.log;
const lab = new Lab();
process.once("exit", () => lab.remove());
lab.prepare(values.tarball);
const records = [];
for (const combination of chosen) {
  const record = check(lab, combination);
  records.push(record);
  keep(record);
  print(`${record.result.padEnd(4)}  ${record.area.padEnd(21)}  ${record.combination.padEnd(52)}  ${record.how}  ${record.detail.trim()}`);
}

if (values.json) console.log(JSON.stringify(records));
const count = (result) => records.filter((record) => record.result === result).length;
print(`${count("pass")} passed, ${count("fail")} failed, ${count("skip")} skipped on ${process.platform}-${process.arch}`);
process.exitCode = count("fail") > 0 ? 1 : 0;
