// What other wings' commands share with ours; cli.ts hands it to them, since wings beside each other do not import each other.
import { addModelOptions, loadOptionsOf, parseInteger, UsageError } from "./arguments.js";
import { loadingLine } from "./loading.js";
import { progressLine, write } from "./terminal.js";

export const commandLine = { addModelOptions, loadOptionsOf, parseInteger, progressLine, loadingLine, write, UsageError };
