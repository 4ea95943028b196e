// Errors as tables.
import { markdownTable, textTable } from "../report.mjs";

const figure = (value, digits) => (value === null || value === undefined ? "-" : value.toFixed(digits));

export function textReport(models) {
  return models.flatMap((model) => [headingOf(model), ...textTable(HEAD, model.rows.map(cellsOf)), ...missingOf(model), ""]).join("\n");
}

export function markdownReport(models) {
  const lines = models.flatMap((model) => [
    `## ${headingOf(model)}`,
    "",
    ...markdownTable(HEAD, model.rows.map(cellsOf)),
    "",
    ...missingOf(model),
    "",
  ]);
  return `${lines.join("\n").trim()}\n`;
}

// First against the same weights in F32: what the arithmetic does, which is not known of peers that round them. Then against those that
// the model came with: rounding them, too.
const HEAD = ["variant", "rms error", "largest", "in deviations", "rms, weights too", "in deviations", "Kendall tau", "nDCG@10"];

function cellsOf({ title, failed, error, whole, tau, ndcg }) {
  if (failed) return [title, "failed", ...HEAD.slice(2).map(() => "-")];
  return [
    title,
    figure(error?.rms, 4),
    figure(error?.max, 4),
    figure(error?.rmsOfSpread, 4),
    figure(whole.rms, 4),
    figure(whole.rmsOfSpread, 4),
    figure(tau, 4),
    figure(ndcg, 4),
  ];
}

function headingOf({ name, pairs, queries, spread, isa }) {
  return `${name}: ${pairs} pairs of ${queries} queries, logits' standard deviation ${spread.toFixed(3)}; our kernels: ${isa}`;
}

function missingOf({ rows }) {
  return rows.filter(({ failed }) => failed).map(({ title, failed }) => `* ${title}: ${failed}`);
}
