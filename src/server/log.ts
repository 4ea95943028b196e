// Lines about requests and models. Never a text of a request, nor a message that may quote one.
import { styleText } from "node:util";
import type { LogLine, Settings } from "./options.js";

export type Log = (level: LogLine["level"], msg: string, facts?: Readonly<Record<string, unknown>>) => void;

let droppedLines = 0;
let guarded = false;

/** A log that cannot be written, as on a full disk, costs its lines and nothing else. */
function guard(): void {
  if (guarded) return;
  guarded = true;
  process.stderr.on("error", () => {
    droppedLines += 1;
  });
}

export function createLog(log: Settings["log"]): Log {
  if (log === "off") return () => {};
  const emit = typeof log === "function" ? log : write(log === "json" ? (line) => JSON.stringify(line) : pretty);
  return (level, msg, facts = {}) => {
    const dropped = droppedLines;
    droppedLines = 0;
    emit({ time: new Date().toISOString(), level, msg, ...facts, ...(dropped > 0 && { dropped_lines: dropped }) });
  };
}

function write(format: (line: LogLine) => string): (line: LogLine) => void {
  guard();
  return (line) => {
    try {
      process.stderr.write(`${format(line)}\n`);
    } catch {
      droppedLines += 1;
    }
  };
}

function pretty({ time, level, msg, ...facts }: LogLine): string {
  const colour = ({ info: "green", warn: "yellow", error: "red" } as const)[level];
  const head = `${String(time).slice(11, 23)} ${process.stderr.isTTY ? styleText(colour, level.padEnd(5)) : level.padEnd(5)} ${msg}`;
  const known = Object.entries(facts).filter(([, value]) => value !== undefined);
  const rest = known.map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  return [head, ...rest].join(" ");
}
