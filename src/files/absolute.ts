// Absolute paths, where there may be no working directory any more.
import { resolve } from "node:path";
import { RerankerError } from "../errors.js";

/** @throws {RerankerError} `IO` for a relative path when the working directory was deleted. */
export function absolute(path: string): string {
  try {
    return resolve(path);
  } catch (cause) {
    throw new RerankerError(
      "IO",
      `\`${path}\` is relative, and the working directory was deleted; give an absolute path, or change to a folder that exists.`,
      { cause },
    );
  }
}
