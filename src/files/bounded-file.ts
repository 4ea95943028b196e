// Small files of a checkpoint are read whole, so their size is bounded first.
import { open } from "node:fs/promises";
import { basename } from "node:path";
import { RerankerError } from "../errors.js";

/**
 * @param tooLarge - Makes the error for a file of more than `maxBytes`, from the reason.
 * @returns The file's bytes, or undefined when there is no such file.
 * @throws {RerankerError} `IO` when it cannot be opened.
 */
export async function readBounded(path: string, maxBytes: number, tooLarge: (why: string) => Error): Promise<Uint8Array | undefined> {
  const what = `\`${basename(path)}\``;
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, "r");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new RerankerError("IO", `Cannot read ${what}: ${(cause as Error).message}`, { cause });
  }
  try {
    const { size } = await file.stat();
    if (size > maxBytes) throw tooLarge(`${what} has ${size} bytes; at most ${maxBytes} are read`);
    return await file.readFile();
  } finally {
    await file.close();
  }
}
