// The thread of a worker that reads, scores and writes, so that the loop that renews the locks is never held.
import { parentPort, workerData } from "node:worker_threads";
import { FlagAutoReranker, type Reranker, RerankerError } from "../../index.js";
import { fingerprintOf } from "../fingerprint.js";
import { InputReader } from "../input-reader.js";
import { findPart, makePart } from "../part.js";
import { canonical } from "../shard.js";
import type { JobSpec, Scoring } from "../spec.js";
import { openStorage } from "../storage/open-storage.js";
import type { PartPayload, PartResult } from "./payload.js";
import { type FromScoring, type ScoringStart, type ToScoring, WRONG_MODEL } from "./scoring-messages.js";

const port = parentPort;
if (!port) throw new Error("This file is the scoring thread of `bge-reranker worker`");
const { model, machine } = workerData as ScoringStart;
const say = (message: FromScoring) => port.postMessage(message);

interface Loaded {
  readonly reranker: Reranker;
  readonly sha256: string;
}

/** The model with the options of the jobs at hand: loaded once, and anew only for jobs with other options. */
let current: { readonly options: string; readonly loading: Promise<Loaded>; users: number } | undefined;

async function withModel<T>(scoring: Scoring, work: (loaded: Loaded) => Promise<T>): Promise<T> {
  const options = canonical(scoring);
  while (current && current.options !== options) {
    const old = current;
    if (old.users > 0) {
      await new Promise((resolve) => setTimeout(resolve, 100)); // both in memory at once might not fit
      continue;
    }
    current = undefined;
    await (await old.loading.catch(() => undefined))?.reranker.dispose();
  }
  current ??= { options, loading: load(scoring), users: 0 };
  const mine = current;
  mine.users++;
  try {
    return await work(await mine.loading);
  } catch (error) {
    if (
      current === mine &&
      (await mine.loading.then(
        () => false,
        () => true,
      ))
    )
      current = undefined; // the next job tries again
    throw error;
  } finally {
    mine.users--;
  }
}

async function load(scoring: Scoring): Promise<Loaded> {
  const reranker = await FlagAutoReranker.fromFinetuned(model, { ...machine, ...scoring });
  try {
    const sha256 = await fingerprintOf(reranker.model.path);
    say({ kind: "loaded", name: reranker.model.name, sha256, device: reranker.model.device });
    return { reranker, sha256 };
  } catch (error) {
    await reranker.dispose();
    throw error;
  }
}

/** Readers of the jobs at hand: they know where they stand in files that cannot be entered in the middle. */
const readers = new Map<string, InputReader>();
const MOST_READERS = 4;

async function readerOf(spec: JobSpec): Promise<InputReader> {
  const key = canonical(spec.input);
  const reader = readers.get(key) ?? new InputReader(spec.input);
  readers.delete(key);
  readers.set(key, reader);
  return reader;
}

async function closeIdleReaders(busy: ReadonlySet<InputReader>): Promise<void> {
  for (const [key, reader] of readers) {
    if (readers.size <= MOST_READERS) return;
    if (busy.has(reader)) continue;
    readers.delete(key);
    await reader[Symbol.asyncDispose]();
  }
}

const aborts = new Map<number, AbortController>();
const busyReaders = new Set<InputReader>();

async function score(id: number, { spec, shard, output }: PartPayload, signal: AbortSignal): Promise<PartResult> {
  const storage = await openStorage(output);
  const found = await findPart(spec, shard, storage);
  if (found) return { record: found, skipped: true };
  return withModel(spec.scoring, async ({ reranker, sha256 }) => {
    if (sha256 !== spec.model.sha256) throw new WrongModel(reranker.model.path, sha256, spec);
    const reader = await readerOf(spec);
    busyReaders.add(reader);
    try {
      const onWork = (pairs: number, tokens: number, rows: number) => say({ kind: "work", id, pairs, tokens, rows });
      return { record: await makePart(shard, { spec, reranker, reader, storage, signal, onWork }), skipped: false };
    } finally {
      busyReaders.delete(reader);
      await closeIdleReaders(busyReaders);
    }
  });
}

class WrongModel extends Error {
  constructor(path: string, sha256: string, { model: wanted }: JobSpec) {
    super(
      `The jobs want the scores of ${wanted.name ?? "a model"} with the digest ${wanted.sha256.slice(0, 16)}…; ${path} has ${sha256.slice(0, 16)}…. Give this worker the file the jobs were made with`,
    );
  }
}

function codeOf(error: unknown): string {
  if (error instanceof WrongModel) return WRONG_MODEL;
  return error instanceof RerankerError ? error.code : error instanceof TypeError || error instanceof RangeError ? "USAGE" : "INTERNAL";
}

port.on("message", async (message: ToScoring) => {
  switch (message.kind) {
    case "score": {
      const { id, payload } = message;
      const controller = new AbortController();
      aborts.set(id, controller);
      try {
        say({ kind: "done", id, result: await score(id, payload, controller.signal) });
      } catch (error) {
        say({ kind: "failed", id, error: { message: error instanceof Error ? error.message : String(error), code: codeOf(error) } });
      } finally {
        aborts.delete(id);
      }
      return;
    }
    case "abort":
      aborts.get(message.id)?.abort(new Error("The worker stops"));
      return;
    case "close":
      for (const reader of readers.values()) await reader[Symbol.asyncDispose]();
      await (await current?.loading.catch(() => undefined))?.reranker.dispose();
      port.close();
      return;
    default:
      message satisfies never;
  }
});
