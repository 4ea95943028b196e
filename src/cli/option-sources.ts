// Where options of a long-running command come from. A flag wins, then the environment (BGE_PORT for --port), then the config
// file (`port` or, for --max-body, `max-body` or `maxBody`), then the default.
import { readFileSync } from "node:fs";
import type { Command, Option } from "commander";
import { UsageError } from "./arguments.js";

/** Fills in what the command line did not say. */
export function applySources(command: Command, env: NodeJS.ProcessEnv = process.env): void {
  const options = command.options.filter((option) => option.attributeName() !== "config");
  const given = (option: Option) => command.getOptionValueSource(option.attributeName()) === "cli";
  const file = command.getOptionValue("config") ?? env["BGE_CONFIG"];
  const config = typeof file === "string" ? readConfig(file) : {};
  const unused = new Set(Object.keys(config));
  for (const option of options) {
    const name = option.attributeName();
    const key = keysOf(option).find((each) => Object.hasOwn(config, each));
    if (key !== undefined) unused.delete(key);
    if (given(option)) continue;
    const variable = `BGE_${option.name().replaceAll("-", "_").toUpperCase()}`;
    const text = env[variable];
    if (text !== undefined && text !== "") command.setOptionValueWithSource(name, readValue(option, text, variable, option.negate), "env");
    else if (key !== undefined) {
      // `page: false` and `no-page: true` say the same.
      const value = readValue(option, config[key], `${key} in ${file}`, option.negate && key !== name);
      command.setOptionValueWithSource(name, value, "config");
    }
  }
  if (unused.size > 0) throw new UsageError(`${file} has options that ${command.name()} does not: ${[...unused].join(", ")}`);
}

function keysOf(option: Option): string[] {
  const camel = option.name().replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return [option.attributeName(), option.name(), camel];
}

function readConfig(file: string): Readonly<Record<string, unknown>> {
  try {
    const config: unknown = JSON.parse(readFileSync(file, "utf8"));
    if (typeof config === "object" && config !== null && !Array.isArray(config)) return config as Readonly<Record<string, unknown>>;
  } catch (error) {
    throw new UsageError(`The config file ${file} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
  throw new UsageError(`The config file ${file} must hold a JSON object`);
}

/** A value as the flag would have given it. Flags that repeat take a list, or in the environment one with commas. */
function readValue(option: Option, value: unknown, place: string, negated: boolean): unknown {
  const refuse = (expected: string) => new UsageError(`Expected ${place} to be ${expected}, got ${JSON.stringify(value)}`);
  if (option.isBoolean() || option.negate) {
    const [, yes] = /^(?:(true|1|yes)|false|0|no)$/.exec(String(value)) ?? [undefined, null];
    if (yes === null) throw refuse("true or false");
    return (yes !== undefined) !== negated;
  }
  const texts = (Array.isArray(value) ? value : repeats(option) ? String(value).split(",") : [value]).map((each: unknown) => {
    if (typeof each === "string" || typeof each === "number") return String(each).trim();
    throw refuse("text or a number");
  });
  try {
    if (repeats(option)) return texts.reduce((list: unknown, text) => parse(option, text, list), undefined);
    return parse(option, texts.join(","), undefined);
  } catch (error) {
    throw new UsageError(`${place}: ${error instanceof Error ? error.message : error}`);
  }
}

function parse(option: Option, text: string, before: unknown): unknown {
  if (option.argChoices && !option.argChoices.includes(text))
    throw new UsageError(`expected one of ${option.argChoices.join(", ")}, got ${text}`);
  return option.parseArg && !option.argChoices ? option.parseArg(text, before as never) : text;
}

function repeats(option: Option): boolean {
  return option.parseArg === collect;
}

/** For options that may be given several times. */
export function collect(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value];
}
