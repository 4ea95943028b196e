// The report of `bench`.
import type { Reranker } from "../../index.js";
import { formatBytes } from "../terminal.js";
import { formatNumber } from "./page.js";
import type { Report, Section } from "./report.js";

/** One call of so many documents, its median. */
export interface BatchTime {
  readonly documents: number;
  readonly ms: number;
}

export interface BenchOutcome {
  readonly model: Reranker["model"];
  readonly tokensPerDocument: number;
  readonly loadMs: number;
  readonly peakMemoryBytes: number;
  readonly runs: number;
  /** Ascending. */
  readonly batches: readonly BatchTime[];
  /** With a model that has cutoff layers: the largest batch up to each of some. */
  readonly layers: readonly (BatchTime & { readonly layer: number })[];
}

export function benchReport({ model, tokensPerDocument, loadMs, peakMemoryBytes, runs, batches, layers }: BenchOutcome): Report {
  const rates = batches.map(({ documents, ms }) => ({ documents, perSecond: (1000 * documents) / ms }));
  const fastest = rates.reduce((a, b) => (b.perSecond > a.perSecond ? b : a));
  return {
    title: `Speed of ${model.name ?? model.path}`,
    facts: [
      ["device", `${model.devices.join(", ")}${model.isa ? ` (${model.isa})` : ""}`],
      ["weights", `${Object.keys(model.tensorTypes).join(", ")}, ${formatBytes(model.weightsSizeBytes)}`],
      ["document", `about ${Math.round(tokensPerDocument)} tokens with the query`],
      ["loaded in", `${Math.round(loadMs)} ms`],
      ["memory", `${formatBytes(peakMemoryBytes)} at most`],
    ],
    sections: [
      {
        heading: "Latency of a call against its documents",
        note: `Milliseconds until all documents of one query are ranked, the median of ${runs} ${runs === 1 ? "run" : "runs"}, taken in turns.`,
        chart: points(
          "documents",
          "ms",
          true,
          batches.map(({ documents, ms }) => ({ x: documents, y: ms, name: `${formatNumber(ms)} ms` })),
          true,
        ),
      },
      {
        heading: "Throughput against the documents of a call",
        note: `The same calls as documents a second; ${formatNumber(fastest.perSecond)} at most, with ${fastest.documents} documents.`,
        chart: points(
          "documents",
          "documents/s",
          true,
          rates.map(({ documents, perSecond }) => ({ x: documents, y: perSecond, name: formatNumber(perSecond) })),
          true,
        ),
      },
      ...(layers.length > 1 ? [layersSection(layers)] : []),
    ],
  };
}

function layersSection(layers: BenchOutcome["layers"]): Section {
  return {
    heading: "Latency against the cutoff layer",
    note: `${layers[0]?.documents} documents read up to each layer. What that does to quality: eval --report --compare.`,
    chart: points(
      "cutoff layer",
      "ms",
      true,
      layers.map(({ layer, ms }) => ({ x: layer, y: ms, name: `layer ${layer}` })),
    ),
  };
}

function points(
  x: string,
  y: string,
  joined: boolean,
  values: readonly { readonly x: number; readonly y: number; readonly name: string }[],
  logX = false,
): NonNullable<Section["chart"]> {
  return { kind: "points", x, y, joined, logX, points: values };
}
