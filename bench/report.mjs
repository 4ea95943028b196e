// Results as text: one table a shape for people, the same as Markdown, and the summary that scripts read.
import { BASELINE } from "./plan.mjs";

const dash = "-";
const number = (value, digits = 0) =>
  value === undefined || !Number.isFinite(value)
    ? dash
    : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const percent = (value) => (value === undefined ? dash : `${number(100 * value)} %`);
const times = (value) => (value === undefined ? dash : `${number(value, 2)}x`);
const exact = (value) => (value === 0 ? "0" : value < 0.001 ? value.toExponential(1) : value.toFixed(3));

/** What checks look at. A number that was not measured is null, and `missing` says why. */
export function summaryOf(shapes, missing) {
  const ratioOf = (shape, workload, engine, field) =>
    shapes.find((result) => result.shape === shape)?.engines.find(({ name }) => name === engine)?.workloads[workload]?.[field] ?? null;
  return {
    ratioVsOnnxInt8: ratioOf("base", "passages", "onnx-int8", "baselineRatio"),
    ratioVsOnnxInt8Cpu: ratioOf("base", "passages", "onnx-int8", "baselineRatioCpu"),
    ratioVsNodeLlamaCpp: ratioOf("base", "passages", "node-llama-cpp", "baselineRatio"),
    tokensPerSecond: ratioOf("base", "passages", BASELINE, "tokensPerSecond"),
    ofInt8Limit: ratioOf("base", "passages", BASELINE, "ofLimit"),
    missing: Object.fromEntries(missing),
  };
}

export function markdownReport(report) {
  const lines = ["# Benchmark", "", ...machineLines(report.machine), ""];
  for (const shape of report.shapes) {
    lines.push(`## ${headingOf(shape)}`, "");
    for (const { title, head, rows } of tablesOf(shape)) lines.push(`**${title}**`, "", ...markdownTable(head, rows), "");
    lines.push(...notesOf(shape).map((note) => `- ${note}`), "");
  }
  return `${lines.join("\n").trim()}\n`;
}

export function textReport(report) {
  const lines = [...machineLines(report.machine)];
  for (const shape of report.shapes) {
    lines.push("", `=== ${headingOf(shape)}`);
    for (const { title, head, rows } of tablesOf(shape)) lines.push("", title, ...textTable(head, rows));
    lines.push("", ...notesOf(shape).map((note) => `* ${note}`));
  }
  return lines.join("\n");
}

function machineLines({ cpu, cores, threads, isa, node, chip, loadAverage, versions }) {
  const limit = chip.int8
    ? `one thread's limit: F32 ${number(chip.f32)}, int8 ${number(chip.int8)} Gop/s`
    : `the chip's limit was not measured: ${chip.reason}`;
  return [
    `${cpu}, ${cores} physical cores, ${threads} threads for all; our kernels: ${isa}; ${limit}. Node ${node}.`,
    `Load average before the run: ${loadAverage.toFixed(1)}. Peers: ${versions.join(", ") || "none"}.`,
  ];
}

function headingOf({ title, layers, layersOfModel, tokenizer }) {
  const cut = layers === layersOfModel ? "" : `, first ${layers} of ${layersOfModel} layers`;
  return `${title}${cut} (random weights; tokenizer: ${tokenizer})`;
}

function tablesOf(shape) {
  const measured = shape.engines.filter(({ workloads }) => Object.keys(workloads).length > 0);
  if (shape.qualityOnly) return [qualityTable(shape, measured)];
  const tables = [speedTable(shape, measured), ...ratioTables(shape, measured), costTable(measured), qualityTable(shape, measured)];
  return shape.exits ? [...tables, exitTable(shape)] : tables;
}

function speedTable({ workloads }, engines) {
  const names = workloads.map(({ name }) => name);
  return {
    title: "Tokens a second (medians)",
    head: ["engine", ...names, ...names.slice(0, 2).map((name) => `${name}, a CPU second`), "of its limit", "in CPU time"],
    rows: engines.map((engine) => [
      engine.title,
      ...names.map((name) => number(engine.workloads[name]?.tokensPerSecond)),
      ...names.slice(0, 2).map((name) => number(engine.workloads[name]?.tokensPerCpuSecond)),
      percent(engine.workloads.passages?.ofLimit),
      percent(engine.workloads.passages?.ofLimitCpu),
    ]),
  };
}

function ratioTables({ workloads }, engines) {
  const baseline = engines.find(({ name }) => name === BASELINE);
  if (!baseline || engines.length < 2) return [];
  const ratios = ({ baselineRatio, baselineRatioCpu } = {}) => `${times(baselineRatio)} / ${times(baselineRatioCpu)}`;
  return [
    {
      title: `${baseline.title} is so many times as fast (medians over rounds; in CPU time behind the stroke)`,
      head: ["than", ...workloads.map(({ name }) => name)],
      rows: engines
        .filter((engine) => engine !== baseline)
        .map((engine) => [engine.title, ...workloads.map(({ name }) => ratios(engine.workloads[name]))]),
    },
  ];
}

function costTable(engines) {
  return {
    title: "Cost",
    head: ["engine", "load s", "peak RSS MB", "of file", "one caller of many waits ms", "batch"],
    rows: engines.map(({ title, loadMs, peakRssBytes, fileBytes, workloads }) => [
      title,
      number(loadMs / 1000, 2),
      number(peakRssBytes / 1e6),
      times(peakRssBytes && peakRssBytes / fileBytes),
      number(workloads.callers?.waitMs),
      [...new Set(Object.values(workloads).flatMap(({ batchSize }) => batchSize ?? []))].join("/") || dash,
    ]),
  };
}

function qualityTable({ reference }, engines) {
  return {
    title: `Quality: logits against ours ${reference ?? "(failed)"}, one query x passages`,
    head: ["engine", "max |error|", "rms error", "Kendall tau"],
    rows: engines
      .filter(({ quality }) => quality)
      .map(({ title, quality }) => [title, exact(quality.maxDelta), exact(quality.rmsDelta), quality.kendallTau.toFixed(4)]),
  };
}

function exitTable({ exits, cascade }) {
  const whole = exits.at(-1).wallMs;
  const rows = exits.map(({ layer, wallMs }) => [`to layer ${layer}`, number(wallMs), percent(wallMs / whole)]);
  const stages = cascade.stages.map(({ layer, keep }) => `${keep} after ${layer}`).join(", ");
  rows.push([`cascade: ${stages}`, number(cascade.wallMs), percent(cascade.wallMs / whole)]);
  return { title: "Early exits, one query x passages", head: ["scored", "ms", "of all layers"], rows };
}

function notesOf({ workloads, engines, sharedPrefix }) {
  const notes = workloads.map(({ name, title, pairs, tokens }) => `${name}: ${title}; ${number(pairs)} pairs, ${number(tokens)} tokens`);
  const spread = engines.find(({ quality }) => quality)?.quality.referenceSpread;
  if (spread !== undefined) notes.push(`the logits have a standard deviation of ${exact(spread)}`);
  for (const { queryWords, documents, sharedMs, distinctMs, gain } of sharedPrefix ?? []) {
    notes.push(
      `shared query of ${queryWords} words, ${documents} documents: ${number(sharedMs)} ms, with a query each ${number(distinctMs)} ms: ${times(gain)}`,
    );
  }
  for (const { title, failed } of engines) if (failed) notes.push(`missing: ${title}: ${failed}`);
  return notes;
}

export function markdownTable(head, rows) {
  const line = (cells) => `| ${cells.map((cell) => String(cell).replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? "---" : "---:"))), ...rows.map(line)];
}

export function textTable(head, rows) {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i].length)));
  const line = (cells) => cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join("  ");
  return [line(head), widths.map((width) => "-".repeat(width)).join("  "), ...rows.map(line)];
}
