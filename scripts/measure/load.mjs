// npm run load: the server under callers, beside the same calls in process. Sends to this machine alone.
import { fork } from "node:child_process";
import os from "node:os";
import { parseArgs } from "node:util";
import { runInProcess } from "../../bench/load/in-process.mjs";
import { runOverHttp } from "../../bench/load/over-http.mjs";
import { startServer } from "../../bench/load/server-process.mjs";
import { median } from "../../bench/statistics.mjs";

const USAGE = `Usage: npm run load -- [options]
  --models LIST    of embedded, base, or GGUF files (default: embedded,base)
  --callers LIST   callers at once, each with 20 documents a call (default: 1,16,64,256)
  --seconds N      how long each cell should take, about (default 15)
  --rounds N       rounds of HTTP and in process by turns (default 3)
  --threads N      of the model (default: physical cores)
  --serve FLAGS    more flags of \`serve\`, in one text
  --json           the last line of output is the table as JSON`;

const { values } = parseArgs({
  options: {
    models: { type: "string", default: "embedded,base" },
    callers: { type: "string", default: "1,16,64,256" },
    seconds: { type: "string", default: "15" },
    rounds: { type: "string", default: "3" },
    threads: { type: "string" },
    serve: { type: "string", default: "" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const DOCUMENTS = 20;
const threads = values.threads === undefined ? undefined : Number(values.threads);
const log = (text) => console.error(`  ${text}`);

/** A file of the shape of bge-reranker-base with random weights: its speed is that of the real one. */
function prepareBase() {
  return new Promise((resolve, reject) => {
    const child = fork(new URL("../../bench/prepare.mjs", import.meta.url), {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      serialization: "advanced",
    });
    child.on("message", ({ result, error }) => (result ? resolve(result.files.Q8_0) : reject(new Error(error))));
    const counts = { passages: 1, long: 0, single: false, callers: 0, passagesPerCaller: 0 };
    child.send({ shapeName: "base", layers: 12, files: [], counts });
  });
}

const percentile = (values, part) => [...values].sort((a, b) => a - b)[Math.max(0, Math.ceil(values.length * part) - 1)];

/** One row: both ways by turns, the order changing, each with a process of its own. */
async function measure({ model, title, callers, calls, seconds }, rounds) {
  const runs = [];
  for (let round = 0; round < rounds; round++) {
    const seed = 1 + round * 1000 + callers;
    let http;
    let inProcess;
    const overHttp = async () => {
      // Each document comes once: a cache would hold them and answer none.
      const flags = ["--model", model, "--log", "off", ...values.serve.split(" ").filter(Boolean)];
      const server = await startServer(threads === undefined ? flags : [...flags, "--threads", String(threads)]);
      await runOverHttp({ url: server.url, callers: 1, calls: 1, seed: seed + 500, polite: false });
      const before = server.cpuSeconds();
      http = await runOverHttp({ url: server.url, callers, calls, seed, polite: seconds > 1.5 });
      http.cpuSeconds = server.cpuSeconds() - before;
      http.rssBytes = server.peakRssBytes();
      const { code } = await server.stop();
      if (code !== 0) throw new Error(`serve ended with ${code}:\n${server.log()}`);
    };
    const without = async () => {
      inProcess = await runInProcess({ model, threads, callers, calls, seed });
    };
    for (const step of round % 2 === 0 ? [overHttp, without] : [without, overHttp]) await step();
    runs.push({ http, inProcess });
    const perSecond = (run) => (run.latencies.length * DOCUMENTS) / run.seconds;
    log(`${title}, ${callers} callers: ${perSecond(http).toFixed(0)} documents/s over HTTP, ${perSecond(inProcess).toFixed(0)} in process`);
  }
  const rate = (run) => (run.latencies.length * DOCUMENTS) / run.seconds;
  const perDocument = (run) => run.cpuSeconds / (run.latencies.length * DOCUMENTS);
  const all = (way) => runs.flatMap((run) => run[way].latencies);
  const middle = (of) => median(runs.map(of));
  return {
    model: title,
    callers,
    calls,
    documentsPerSecond: middle(({ http }) => rate(http)),
    inProcessPerSecond: middle(({ inProcess }) => rate(inProcess)),
    ratio: middle(({ http, inProcess }) => rate(http) / rate(inProcess)),
    // Of all that the process does: HTTP, JSON, admission, scoring. Steadier than the clock where others compute too.
    cpuRatio: middle(({ http, inProcess }) => perDocument(inProcess) / perDocument(http)),
    cpuMsPerDocument: 1000 * middle(({ http }) => perDocument(http)),
    inProcessCpuMsPerDocument: 1000 * middle(({ inProcess }) => perDocument(inProcess)),
    p50Ms: percentile(all("http"), 0.5),
    p99Ms: percentile(all("http"), 0.99),
    inProcessP50Ms: percentile(all("inProcess"), 0.5),
    inProcessP99Ms: percentile(all("inProcess"), 0.99),
    refused: middle(({ http }) => http.refused),
    failed: middle(({ http }) => http.failed),
    peakRssBytes: middle(({ http }) => http.rssBytes),
    inProcessRssBytes: middle(({ inProcess }) => inProcess.rssBytes),
  };
}

function table(rows) {
  const ms = (value) => (value === undefined ? "-" : value < 9_950 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`);
  const mb = (value) => `${Math.round(value / 1e6)} MB`;
  const lines = rows.map((row) => [
    row.model,
    row.callers,
    row.documentsPerSecond.toFixed(0),
    row.inProcessPerSecond.toFixed(0),
    `${(100 * row.ratio).toFixed(0)} %`,
    `${row.cpuMsPerDocument.toFixed(1)} / ${row.inProcessCpuMsPerDocument.toFixed(1)} ms`,
    `${(100 * row.cpuRatio).toFixed(0)} %`,
    `${ms(row.p50Ms)} / ${ms(row.p99Ms)}`,
    `${ms(row.inProcessP50Ms)} / ${ms(row.inProcessP99Ms)}`,
    row.refused,
    row.failed,
    `${mb(row.peakRssBytes)} / ${mb(row.inProcessRssBytes)}`,
  ]);
  const head = [
    "model",
    "callers",
    "documents/s",
    "in process",
    "of it",
    "CPU a document / in process",
    "of it",
    "p50 / p99",
    "in process",
    "refused",
    "failed",
    "RSS / in process",
  ];
  return [head, head.map(() => "---"), ...lines].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

async function main() {
  if (values.help) return console.log(USAGE);
  const rows = [];
  console.error(`${os.cpus()[0]?.model}, ${os.availableParallelism()} cores, load average ${os.loadavg()[0].toFixed(1)} at the start`);
  for (const name of values.models.split(",")) {
    const model = name === "embedded" ? "default" : name === "base" ? await prepareBase() : name;
    const title = name === "base" ? "base shape, Q8_0" : name;
    // How much fits the time: from a short look at one caller.
    const look = await runInProcess({ model, threads, callers: 1, calls: 4, seed: 99 });
    const callSeconds = look.seconds / 4;
    for (const callers of values.callers.split(",").map(Number)) {
      const calls = Math.max(callers, Math.round(Number(values.seconds) / callSeconds));
      rows.push(await measure({ model, title, callers, calls, seconds: callSeconds * callers }, Number(values.rounds)));
    }
  }
  console.log(table(rows));
  console.error(`load average ${os.loadavg()[0].toFixed(1)} at the end`);
  if (values.json) console.log(JSON.stringify(rows));
}

await main();
