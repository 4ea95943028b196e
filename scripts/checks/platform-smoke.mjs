// Runs in a folder where the packed package is installed, under the Node of the platform that is checked (see
// check-platforms.mjs): the golden checkpoints converted, loaded and scored. Leaves report.json beside itself.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { convert, FlagAutoReranker, listDevices, verifyModel } from "bge-reranker";

const folder = path.dirname(fileURLToPath(import.meta.url));
const golden = path.join(folder, "golden");

const checkpoints = JSON.parse(readFileSync(path.join(golden, "checkpoints.json"), "utf8"));

const report = { node: process.version, platform: process.platform, arch: process.arch, isa: "", checks: [], error: null };

function add(name, ok, detail) {
  report.checks.push({ name, ok, detail });
  write();
}

// After each check: a crash leaves what passed before it.
const write = () => writeFileSync(path.join(folder, "report.json"), `${JSON.stringify(report, null, 2)}\n`);

async function score(model, pair) {
  const reranker = await FlagAutoReranker.fromFinetuned(model, { devices: "cpu" });
  const [value] = await reranker.computeScore(pair);
  await reranker.dispose();
  return value;
}

async function inWorker(model, pair) {
  const worker = new Worker(new URL(import.meta.url), { workerData: { model, pair } });
  try {
    return await new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
  } finally {
    await worker.terminate();
  }
}

async function main() {
  const { cpu } = await listDevices();
  report.isa = cpu.isa;
  const models = path.join(folder, "models");
  mkdirSync(models, { recursive: true });
  const converted = new Map();

  for (const { name, tolerance } of checkpoints) {
    const output = path.join(models, `${name}.f32.gguf`);
    await convert(path.join(golden, name), { output, outtype: "f32" });
    converted.set(name, output);
    for (const file of ["cases.json", "tokenization.json"]) {
      const { checks, ok } = await verifyModel(output, { cases: path.join(golden, name, file), tolerance });
      const worst = checks.filter(({ kind }) => kind === "score").reduce((max, { difference }) => Math.max(max, difference), 0);
      const missed = checks.filter((check) => !check.ok).map(({ id }) => id);
      const agreed = `${checks.length - missed.length} of ${checks.length}`;
      add(
        `${name} ${file}`,
        ok,
        missed.length > 0 ? `${agreed}; missed ${missed.join(", ")}` : `${agreed}, off by at most ${worst.toExponential(1)}`,
      );
    }
  }

  const pair = ["what is a panda?", "The giant panda is a bear species endemic to China."];
  const plain = converted.get("bert-reranker");
  const expected = await score(plain, pair);

  const elsewhere = path.join(models, "模型 ünï 🐼");
  mkdirSync(elsewhere, { recursive: true });
  const odd = path.join(elsewhere, "модель.gguf");
  await convert(path.join(golden, "bert-reranker"), { output: odd, outtype: "f32" });
  add("a path outside ASCII", (await score(odd, pair)) === expected, "converted to it, loaded from it");

  add("a worker thread", (await inWorker(plain, pair)) === expected, "same score as on the main thread");

  const small = path.join(models, "bert-reranker.q8_0.gguf");
  await convert(path.join(golden, "bert-reranker"), { output: small, outtype: "q8_0" });
  const difference = Math.abs((await score(small, pair)) - expected);
  add("Q8_0 weights", difference < 0.05, `off by ${difference.toExponential(1)} of F32`);
  await refuses("a file that is not there", path.join(models, "none.gguf"), "MODEL_NOT_FOUND");
}

async function refuses(name, model, code) {
  const found = await FlagAutoReranker.fromFinetuned(model).then(
    () => "no error",
    (error) => error.code,
  );
  add(name, found === code, `${found}`);
}

if (isMainThread) {
  try {
    await main();
  } catch (error) {
    report.error = `${error.stack}`;
  }
  write();
  process.exitCode = report.error === null && report.checks.every(({ ok }) => ok) ? 0 : 1;
} else {
  parentPort.postMessage(await score(workerData.model, workerData.pair));
}
