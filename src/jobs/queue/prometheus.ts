// A queue's report in Prometheus's text format.
// See https://prometheus.io/docs/instrumenting/exposition_formats/
import type { QueueReport } from "./report.js";

interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

export function prometheusOf(report: QueueReport): string {
  const { counts, jobs, rate, totals, workers } = report;
  const byState = Object.entries(counts).map(([state, value]) => ({ labels: { state }, value }));
  const ofJobs = (value: (job: QueueReport["jobs"][number]) => number): Sample[] =>
    jobs.map((job) => ({ labels: { job: job.key.slice(0, 16), output: job.output }, value: value(job) }));
  const metrics: [name: string, type: "gauge" | "counter", help: string, samples: readonly Sample[]][] = [
    ["bge_jobs_parts", "gauge", "Parts of the queue by state", byState],
    ["bge_jobs_workers", "gauge", "Workers connected to the queue", [{ value: workers }]],
    ["bge_jobs_rows", "gauge", "Rows of a job", ofJobs((job) => job.rows)],
    ["bge_jobs_rows_done", "gauge", "Rows of a job that are scored", ofJobs((job) => job.doneRows)],
    ["bge_jobs_parts_failed", "gauge", "Parts of a job that failed for good", ofJobs((job) => job.failedShards)],
    ["bge_jobs_pairs_per_second", "gauge", "Pairs scored a second, over the last ten minutes", [{ value: rate.pairsPerSecond }]],
    ["bge_jobs_tokens_per_second", "gauge", "Tokens read a second, over the last ten minutes", [{ value: rate.tokensPerSecond }]],
    ["bge_jobs_pairs", "gauge", "Pairs of the finished parts that the queue holds", [{ value: totals.pairs }]],
    ["bge_jobs_repeated_starts", "gauge", "Parts begun again after a worker was lost or failed", [{ value: totals.repeatedStarts }]],
  ];
  return metrics
    .map(([name, type, help, samples]) => {
      const lines = samples.map(({ labels, value }) => `${name}${labelsOf({ queue: report.queue, ...labels })} ${value}`);
      return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines, ""].join("\n");
    })
    .join("");
}

function labelsOf(labels: Readonly<Record<string, string>>): string {
  const escaped = (text: string) => text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  return `{${Object.entries(labels)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(",")}}`;
}
