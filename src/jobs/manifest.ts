// The manifest of an output: what job it belongs to, and in the end what it holds.
import { RerankerError } from "../index.js";
import type { PartRecord } from "./part.js";
import type { KnownFile, PreparedJob } from "./prepare.js";
import { canonical, type Shard } from "./shard.js";
import { identityOf, type JobSpec } from "./spec.js";
import { putBytes, type Storage } from "./storage/storage.js";

export const MANIFEST = "_manifest.json";

export interface Manifest {
  readonly job: JobSpec;
  readonly shards: readonly Shard[];
  /** Set when all parts are there. */
  readonly complete: boolean;
  readonly parts?: readonly PartRecord[];
  readonly totals?: Totals;
}

export interface Totals {
  readonly rows: number;
  readonly pairs: number;
  readonly computedPairs: number;
  readonly tokens: number;
  readonly truncatedPairs: number;
  readonly bytes: number;
  /** Sum over parts, which may have been made at the same time. */
  readonly seconds: number;
  /** Devices, and for CPUs their instruction sets, that computed parts. Scores of quantized models differ by hundredths between some. */
  readonly computedOn: readonly string[];
}

export async function readManifest(storage: Storage, name = MANIFEST): Promise<Manifest | undefined> {
  const bytes = await storage.read(name);
  if (!bytes) return undefined;
  try {
    const manifest = JSON.parse(bytes.toString()) as Manifest;
    if (typeof manifest.job?.key === "string" && Array.isArray(manifest.shards)) return manifest;
  } catch {
    // told below
  }
  throw new RerankerError("IO", `${storage.name}/${name} is no manifest of a batch. Name another output`);
}

export async function writeManifest(storage: Storage, manifest: Manifest, name = MANIFEST): Promise<void> {
  await putBytes(storage, name, Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`));
}

/** @throws {RerankerError} `IO`: the output belongs to another job; names what differs. */
export function throwIfOther(manifest: Manifest, { spec }: PreparedJob, where: string): void {
  if (manifest.job.key === spec.key) return;
  const [before, now] = [identityOf(manifest.job), identityOf(spec)];
  const differs = Object.keys({ ...before, ...now }).filter((name) => canonical(before[name]) !== canonical(now[name]));
  const short = (value: unknown) => {
    const text = canonical(value) ?? "nothing";
    return text.length > 60 ? `${text.slice(0, 57)}...` : text;
  };
  const list = differs.map((name) => `${name} was ${short(before[name])} and is ${short(now[name])}`).join("; ");
  throw new RerankerError("IO", `${where} belongs to another job: ${list}. Name another output, or begin anew with --force`);
}

/** Files counted for a manifest, so that they are not read again. */
export function knownFiles(manifest: Manifest | undefined): readonly KnownFile[] {
  if (!manifest) return [];
  const { job, shards } = manifest;
  return job.files.map((file, i) => ({
    ...file,
    shardRows: job.shardRows,
    marks: shards.filter((shard) => shard.file === i).map(({ from }) => from),
  }));
}

export function totalsOf(parts: readonly PartRecord[]): Totals {
  const sum = (key: "rows" | "pairs" | "computedPairs" | "tokens" | "truncatedPairs" | "bytes" | "seconds") =>
    parts.reduce((total, part) => total + part[key], 0);
  return {
    rows: sum("rows"),
    pairs: sum("pairs"),
    computedPairs: sum("computedPairs"),
    tokens: sum("tokens"),
    truncatedPairs: sum("truncatedPairs"),
    bytes: sum("bytes"),
    seconds: sum("seconds"),
    computedOn: [...new Set(parts.map(({ device, isa }) => (isa === null ? device : `${device} ${isa}`)))].sort(),
  };
}
