// Options of the commands of the queue.
import type { Command } from "commander";
import type { CommandLine } from "../command-line.js";
import type { InputOptions } from "../input-options.js";

export interface QueueOptions {
  readonly redis: string;
  readonly queue: string;
  readonly quiet?: true;
  readonly json?: true;
}

export interface EnqueueCommandOptions extends QueueOptions, InputOptions {
  readonly model: string;
  readonly output: string;
  readonly resume?: true;
  readonly presign?: number;
  readonly attempts: number;
  readonly backoffMs: number;
}

export interface WorkerCommandOptions extends QueueOptions {
  readonly model: string;
  readonly concurrency?: number;
  readonly lockMs: number;
  readonly graceMs: number;
  readonly maxStalled: number;
  readonly drain?: true;
}

export interface JobsCommandOptions extends QueueOptions {
  readonly watch?: true;
  readonly retry?: true;
  readonly clean?: true;
  readonly prometheus?: true;
  readonly listen?: string;
}

export function addQueueOptions(command: Command): Command {
  return command
    .option("--redis <url>", "Redis or Valkey: redis[s]://user:password@host:port/db", process.env.REDIS_URL ?? "redis://127.0.0.1:6379")
    .option("--queue <name>", "name of the queue: one for each model", "bge-reranker");
}

export function checkQueueOptions({ queue }: QueueOptions, { UsageError }: CommandLine): void {
  if (!/^[\w.-]+$/.test(queue)) throw new UsageError(`Expected --queue to be letters, digits, "-", "_" and ".", got \`${queue}\``);
}

export function checkCounts(options: Readonly<Record<string, unknown>>, minimums: Readonly<Record<string, number>>): void {
  for (const [name, minimum] of Object.entries(minimums)) {
    const value = options[name];
    if (typeof value !== "number" || value >= minimum) continue;
    const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    throw new RangeError(`Expected ${flag} to be at least ${minimum}, got \`${value}\``);
  }
}
