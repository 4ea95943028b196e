#!/usr/bin/env node
// The command line: bge-reranker <command>. Results go to standard output, everything else to standard error.
import { run } from "./cli/program.js";
import { commandLine } from "./cli/shared.js";
import { jobCommands } from "./jobs/commands.js";

// A reader that has seen enough, such as head, is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  process.stderr.write(`error: Cannot write standard output: ${error.message} (IO)\n`);
  process.exit(1);
});

// Not process.exit(): a pipe gets all that was written.
process.exitCode = await run(process.argv, [jobCommands(commandLine)]);
