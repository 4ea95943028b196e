// A report as one page of HTML: no request leaves it, and what the charts show stands in tables too.
import { readFile } from "node:fs/promises";
import { version } from "../../index.js";
import { Output } from "../output.js";
import type { Chart, Report, Section, Table } from "./report.js";

/** Made by scripts/build.mjs from page/. */
const assets = new URL("../../../lib/cli/report/page/", import.meta.url);

/** @throws {RerankerError} `IO` when the file cannot be written. */
export async function writeReport(path: string, report: Report): Promise<void> {
  const [script, style] = await Promise.all(["charts.js", "page.css"].map((name) => readFile(new URL(name, assets), "utf8")));
  const output = new Output(path, "w");
  await output.write(renderReport(report, script ?? "", style ?? "")).finally(() => output.close());
}

/** Charts are drawn by `script` from the JSON in the page, into the figures. */
export function renderReport(report: Report, script: string, style: string): string {
  const charts = report.sections.map(({ chart }) => chart ?? null);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="generator" content="bge-reranker ${version}">
<title>${escapeHtml(report.title)}</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>${escapeHtml(report.title)}</h1>
<dl>${report.facts.map(([name, value]) => `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd></div>`).join("")}</dl>
</header>
<main>
${report.sections.map(renderSection).join("\n")}
</main>
<footer>Made by bge-reranker ${version}. This page asks nothing of the network.</footer>
<script type="application/json" id="charts">${escapeJson(charts)}</script>
<script>${script.replaceAll("</script", "<\\/script")}</script>
</body>
</html>
`;
}

function renderSection({ heading, note, chart, tables = [] }: Section, i: number): string {
  const figure = chart
    ? `<figure data-chart="${i}" role="img" aria-label="${escapeHtml(heading)}"></figure><details><summary>The figures</summary>${renderTable(tableOf(chart))}</details>`
    : "";
  return `<section><h2>${escapeHtml(heading)}</h2><p>${escapeHtml(note)}</p>${figure}${tables.map(renderTable).join("")}</section>`;
}

function renderTable({ caption, titles, rows }: Table): string {
  const cells = (row: readonly string[], tag: string) =>
    row.map((text) => `<${tag}${isFigure(text) ? ' class="figure"' : ""}>${escapeHtml(text)}</${tag}>`).join("");
  return `<div class="wide"><table>${caption === undefined ? "" : `<caption>${escapeHtml(caption)}</caption>`}<thead><tr>${cells(titles, "th")}</tr></thead><tbody>${rows
    .map((row) => `<tr>${cells(row, "td")}</tr>`)
    .join("")}</tbody></table></div>`;
}

function isFigure(text: string): boolean {
  return /^[-+]?[\d.,]+(e-?\d+)?%?$/.test(text);
}

function tableOf(chart: Chart): Table {
  const n = (value: number) => formatNumber(value);
  switch (chart.kind) {
    case "distribution":
      return {
        titles: [`${chart.x} from`, "to", "relevant", "others"],
        rows: chart.bins.map(({ from, to, relevant, others }) => [n(from), n(to), String(relevant), String(others)]),
      };
    case "thresholds":
      return {
        titles: [chart.x, "precision", "recall"],
        rows: chart.steps.map(({ score, precision, recall }) => [n(score), n(precision), n(recall)]),
      };
    case "reliability":
      return {
        titles: ["mean score", "relevant", "pairs"],
        rows: chart.bins.map(({ score, relevant, pairs }) => [n(score), n(relevant), String(pairs)]),
      };
    case "changes":
      return { titles: ["query", chart.label], rows: chart.changes.map(({ name, change }) => [name, n(change)]) };
    case "points":
      return { titles: ["", chart.x, chart.y], rows: chart.points.map(({ x, y, name }) => [name, n(x), n(y)]) };
    default:
      return chart satisfies never;
  }
}

/** Four significant digits. */
export function formatNumber(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
}

export function escapeHtml(text: string): string {
  const named: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (character) => named[character] ?? character);
}

/** JSON that ends no script element. */
function escapeJson(value: unknown): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c");
}
