// The commands, and how a run ends: 0, 1 when something failed, 2 for a mistake in the call.
import { Command, CommanderError } from "commander";
import { RerankerError, version } from "../index.js";
import { UsageError } from "./arguments.js";
import { addBench } from "./bench.js";
import { addBuild } from "./build.js";
import { addCalibrate } from "./calibrate.js";
import { addConvert, addQuantize } from "./convert.js";
import { addEval } from "./eval.js";
import { addDevices, addInspect } from "./inspect.js";
import { addMcp } from "./mcp.js";
import { addModels } from "./models.js";
import { addPull } from "./pull.js";
import { addRerank } from "./rerank.js";
import { addScore } from "./score.js";
import { addServe } from "./serve.js";
import { oneLine, painter } from "./terminal.js";
import { addVerify } from "./verify.js";

/** What a shell expects of a process that a signal ended: 128 and the signal's number. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** Adds commands of another wing to the program. */
export type AddCommands = (program: Command, signal: AbortSignal) => void;

/** Runs one command line, `argv` as process.argv, and returns the exit code. */
export async function run(argv: readonly string[], more: readonly AddCommands[] = []): Promise<number> {
  const controller = new AbortController();
  let interrupted: keyof typeof SIGNALS = "SIGINT";
  const interrupt = (name: NodeJS.Signals) => {
    interrupted = name as keyof typeof SIGNALS;
    controller.abort(new Error("Interrupted"));
  };
  for (const name of Object.keys(SIGNALS)) process.once(name, interrupt); // the second one ends the process at once
  try {
    await buildProgram(controller.signal, more).parseAsync(argv);
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // commander has said why
    if (controller.signal.aborted) return SIGNALS[interrupted];
    process.stderr.write(`${painter(process.stderr)("red", "error:")} ${oneLine(messageOf(error))}\n`);
    return error instanceof UsageError || error instanceof TypeError || error instanceof RangeError ? 2 : 1;
  } finally {
    for (const name of Object.keys(SIGNALS)) process.off(name, interrupt);
  }
}

/** A path or a model named by an unset variable: `--output "$OUT"`. */
function throwIfEmpty(command: Command): void {
  const empty = command.options.find(
    (option) => /<(file|folder|model)>/.test(option.flags) && command.getOptionValue(option.attributeName()) === "",
  );
  if (empty) throw new UsageError(`Expected ${empty.long ?? empty.flags} to name something, got an empty text`);
  const argument = command.registeredArguments.findIndex(
    (each, i) => /file|folder|input|output/.test(each.name()) && command.args[i] === "",
  );
  if (argument >= 0)
    throw new UsageError(`Expected <${command.registeredArguments[argument]?.name()}> to name something, got an empty text`);
}

/** Commander repeats what it was given, which may hold what moves or colours a terminal. */
const COMMANDER_OUTPUT = {
  outputError: (text: string, write: (text: string) => void) => write(`${text.trimEnd().split("\n").map(oneLine).join("\n")}\n`),
};

function buildProgram(signal: AbortSignal, more: readonly AddCommands[]): Command {
  const program = new Command("bge-reranker")
    .description("Run BGE rerankers from GGUF files, with the scores of FlagEmbedding.")
    .version(version)
    .showSuggestionAfterError()
    .showHelpAfterError("(--help shows the options)")
    .exitOverride()
    .configureOutput(COMMANDER_OUTPUT)
    .addHelpText("after", '\nExample:\n  $ bge-reranker rerank --query "what is a panda?" "hi" "The giant panda is a bear."');
  addRerank(program, signal);
  addScore(program, signal);
  addServe(program, signal);
  addEval(program, signal);
  addCalibrate(program, signal);
  addBench(program, signal);
  addConvert(program, signal);
  addQuantize(program, signal);
  addInspect(program);
  addPull(program, signal);
  addModels(program);
  addVerify(program, signal);
  addDevices(program);
  addMcp(program, signal);
  addBuild(program);
  for (const add of more) add(program, signal);
  program.hook("preAction", (_, command) => throwIfEmpty(command));
  for (const command of program.commands)
    command.exitOverride().configureOutput(COMMANDER_OUTPUT).showHelpAfterError("(--help shows the options)");
  return program;
}

function messageOf(error: unknown): string {
  if (error instanceof RerankerError) return `${error.message} (${error.code})`;
  return error instanceof Error ? error.message : String(error);
}
