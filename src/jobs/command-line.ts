// What the commands of this wing need of the command line, which hands it to them: neither imports the other.
import type { Command } from "commander";
import type { LoadOptions, Progress } from "../index.js";

export interface ProgressLine {
  update(done: number, total: number, note?: string): void;
  end(): void;
}

export interface CommandLine {
  readonly addModelOptions: (command: Command) => Command;
  // biome-ignore lint/suspicious/noExplicitAny: options as commander parsed them; the command line checks them
  readonly loadOptionsOf: (options: any, more: Pick<LoadOptions, "signal" | "onProgress">) => LoadOptions;
  readonly parseInteger: (value: string) => number;
  readonly progressLine: (label: string, stream: undefined, quiet: boolean | undefined) => ProgressLine;
  readonly loadingLine: (quiet: boolean | undefined) => { onProgress(progress: Progress): void; end(): void };
  readonly write: (stream: NodeJS.WritableStream, text: string) => Promise<void>;
  /** For a mistake in the call: exit 2. */
  readonly UsageError: new (
    message: string,
  ) => Error;
}
