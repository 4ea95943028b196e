// What made an output that a later run goes on with: kept beside it, so that scores of two models or settings never mix.
import { createHash } from "node:crypto";
import { open, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { RerankerError } from "../index.js";
import { readRawLines } from "../records/index.js";

/** Options that decide scores, by the name they have on the command line. */
export interface Maker {
  readonly model: string;
  /** Of the model's file: its size, its front and samples of the rest. */
  readonly fingerprint: string;
  readonly options: Readonly<Record<string, unknown>>;
}

const FRONT_BYTES = 1 << 20;
const SAMPLES = 256;
const SAMPLE_BYTES = 4096;

/** A digest that another type of weights, another training or another conversion changes, in milliseconds. */
export async function fingerprintOf(path: string): Promise<string> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const digest = createHash("sha256").update(`${size}\n`);
    const read = async (position: number, length: number) => {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
      digest.update(buffer.subarray(0, bytesRead));
    };
    await read(0, FRONT_BYTES);
    for (let i = 0; i < SAMPLES && size > FRONT_BYTES; i++) await read(Math.floor((size / SAMPLES) * i), SAMPLE_BYTES);
    return digest.digest("hex").slice(0, 32);
  } catch (cause) {
    throw new RerankerError("IO", `Cannot read ${path}: ${(cause as Error).message}`, { cause });
  } finally {
    await file.close();
  }
}

const sidecarOf = (output: string): string => join(dirname(output), `.${basename(output)}.resume.json`);

/** Says beside the output what makes it. */
export async function writeMaker(output: string, maker: Maker): Promise<void> {
  const path = sidecarOf(output);
  try {
    await writeFile(`${path}.tmp`, `${JSON.stringify(maker, null, 2)}\n`);
    await rename(`${path}.tmp`, path);
  } catch (cause) {
    await rm(`${path}.tmp`, { force: true });
    throw new RerankerError("IO", `Cannot write ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** A line of the output that is kept: the id it begins with, as it is written there. */
export interface KeptLine {
  readonly id: string | undefined;
}

/**
 * The whole lines of an interrupted run, whose half-written last one is cut off.
 *
 * @throws {RerankerError} `IO`: the file holds no scores, or scores that something else made. It is not touched then.
 */
export async function keepWholeLines(output: string, maker: Maker): Promise<readonly KeptLine[]> {
  const lines: KeptLine[] = [];
  let end = 0;
  for await (const { bytes, byte, number } of readRawLines(output)) {
    const next = byte + bytes.length;
    if (next >= (await sizeOf(output))) break; // no newline behind it
    lines.push(scoreLine(bytes.toString("utf8"), output, number));
    end = next + 1;
  }
  if (lines.length > 0) await throwIfOtherMaker(output, maker);
  await truncate(output, end);
  return lines;
}

async function sizeOf(path: string): Promise<number> {
  const file = await open(path, "r");
  try {
    return (await file.stat()).size;
  } finally {
    await file.close();
  }
}

/** Exactly what `score` writes; anything else is somebody's file. */
const SCORE_LINE = /^\{(?:"id":(.*),)?"(?:score":[-\d.eE+]+|scores":\[[-\d.eE+,]*\])\}$/;

function scoreLine(text: string, path: string, number: number): KeptLine {
  const match = SCORE_LINE.exec(text);
  if (match) return { id: match[1] };
  throw new RerankerError("IO", `${path}, line ${number} is no score of this command; --resume goes on with its own files only`);
}

async function throwIfOtherMaker(output: string, maker: Maker): Promise<void> {
  const text = await readFile(sidecarOf(output), "utf8").catch(() => undefined);
  if (text === undefined)
    throw new RerankerError(
      "IO",
      `Nothing says which model and options made ${output} (${sidecarOf(output)} is missing); --force starts over`,
    );
  let made: Partial<Maker>;
  try {
    made = JSON.parse(text) as Partial<Maker>;
  } catch (cause) {
    throw new RerankerError("IO", `${sidecarOf(output)} is damaged, so nothing says what made ${output}; --force starts over`, { cause });
  }
  if (made.fingerprint !== maker.fingerprint)
    throw new RerankerError("IO", `${output} was made with another model (${made.model ?? "unknown"}); --force starts over`);
  const names = new Set([...Object.keys(made.options ?? {}), ...Object.keys(maker.options)]);
  for (const name of names) {
    const [before, now] = [made.options?.[name], maker.options[name]].map((value) => JSON.stringify(value) ?? "not given");
    if (before !== now)
      throw new RerankerError("IO", `${output} was made with ${name} ${before}, and it is ${now} now; --force starts over`);
  }
}
