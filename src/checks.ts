// The checks behind options.ts: each throws a TypeError or RangeError that names the option and shows the value.
import { cutToLine, shown } from "./errors.js";

/** A caller's value as it should stand in an error message: as `shown`, but with JavaScript's words for what JSON lacks. */
export function show(value: unknown): string {
  if (typeof value === "string" || (typeof value === "object" && value !== null)) return shown(value);
  return cutToLine(String(value));
}

export type Check = (name: string, value: unknown) => void;

function expected(name: string, what: string, value: unknown): string {
  return `Expected \`${name}\` to be ${what}, got \`${show(value)}\``;
}

export function integer(minimum: number, maximum = 2 ** 31 - 1): Check {
  const range = maximum === 2 ** 31 - 1 ? `an integer of at least ${minimum}` : `an integer from ${minimum} to ${maximum}`;
  return (name, value) => {
    if (typeof value !== "number") throw new TypeError(expected(name, range, value));
    if (!Number.isInteger(value) || value < minimum || value > maximum) throw new RangeError(expected(name, range, value));
  };
}

/** A number from `minimum` up to but not including `limit`. */
export function fraction(minimum: number, limit: number): Check {
  const range = `a number from ${minimum} to below ${limit}`;
  return (name, value) => {
    if (typeof value !== "number") throw new TypeError(expected(name, range, value));
    if (!(value >= minimum && value < limit)) throw new RangeError(expected(name, range, value));
  };
}

export const finite: Check = (name, value) => {
  if (typeof value !== "number") throw new TypeError(expected(name, "a finite number", value));
  if (!Number.isFinite(value)) throw new RangeError(expected(name, "a finite number", value));
};

export const boolean: Check = (name, value) => {
  if (typeof value !== "boolean") throw new TypeError(expected(name, "true or false", value));
};

export const string: Check = (name, value) => {
  if (typeof value !== "string") throw new TypeError(expected(name, "a string", value));
};

/** A text that is not empty, such as a path. */
export const name: Check = (option, value) => {
  string(option, value);
  if (value === "") throw new RangeError(expected(option, "a text that is not empty", value));
};

/** A plain object of texts. */
export const texts: Check = (option, value) => {
  throwUnlessPlain(`\`${option}\``, value);
  for (const each of Object.values(value))
    if (typeof each !== "string") throw new TypeError(expected(option, "an object of strings", value));
};

/** A Map, whose values `check` looks at where one is given. */
export function mapOf(check?: Check): Check {
  return (option, value) => {
    if (!(value instanceof Map)) throw new TypeError(expected(option, "a Map", value));
    if (check) for (const [key, each] of value) check(`${option} of ${show(key)}`, each);
  };
}

export const callback: Check = (name, value) => {
  if (typeof value !== "function") throw new TypeError(expected(name, "a function", value));
};

export const abortSignal: Check = (name, value) => {
  if (!(value instanceof AbortSignal)) throw new TypeError(expected(name, "an AbortSignal", value));
};

export function oneOf(...values: readonly string[]): Check {
  const list = values.map((value) => JSON.stringify(value)).join(" or ");
  return (name, value) => {
    if (typeof value !== "string") throw new TypeError(expected(name, list, value));
    if (!values.includes(value)) throw new RangeError(expected(name, list, value));
  };
}

/** One integer or an array of them; which ones are legal depends on the model. */
export const integers: Check = (name, value) => {
  for (const item of Array.isArray(value) ? value : [value]) {
    if (typeof item !== "number") throw new TypeError(expected(name, "an integer or an array of integers", value));
    if (!Number.isInteger(item)) throw new RangeError(expected(name, "an integer or an array of integers", value));
  }
};

/** One string or an array of different strings, at least one. */
export const names: Check = (name, value) => {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (list.some((item) => typeof item !== "string")) throw new TypeError(expected(name, "a string or an array of strings", value));
  if (list.length === 0 || new Set(list).size < list.length) throw new RangeError(expected(name, "one or more different strings", value));
};

/**
 * Checks every option given; `undefined` and `null` count as not given.
 *
 * @param caller - The call to name in the message.
 * @param elsewhere - Options that exist, but not in this call: name to advice.
 */
export function checkOptions(
  caller: string,
  options: object,
  checks: Readonly<Record<string, Check>>,
  elsewhere: (name: string) => string | undefined,
): void {
  throwUnlessPlain(`the options of ${caller}`, options);
  for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(options))) {
    const check = Object.hasOwn(checks, name) ? checks[name] : undefined;
    if (!check)
      throw new TypeError(`Unknown option \`${cutToLine(name)}\` of ${caller}. ${elsewhere(name) ?? nearest(name, Object.keys(checks))}`);
    if (value !== undefined && value !== null) check(name, value);
  }
}

/**
 * A plain object, whose values are what they are: a Map, a class's instance or a getter would be passed over, or read twice and
 * give two values.
 */
export function throwUnlessPlain(what: string, value: unknown): asserts value is object {
  const prototype: unknown = typeof value === "object" && value !== null ? Object.getPrototypeOf(value) : undefined;
  // Object.prototype, of whatever realm.
  const isPlain = prototype === null || (typeof prototype === "object" && prototype !== null && Object.getPrototypeOf(prototype) === null);
  if (!isPlain) throw new TypeError(`Expected ${what} to be an object, got \`${show(value)}\``);
  const getter = Object.entries(Object.getOwnPropertyDescriptors(value as object)).find(([, { get, set }]) => get ?? set);
  if (getter) throw new TypeError(`Expected ${what} to hold values, got a getter for \`${cutToLine(getter[0])}\``);
}

function nearest(name: string, candidates: readonly string[]): string {
  if (name.length > 64) return `Known options: ${[...candidates].sort().join(", ")}`;
  const camel = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  const [best] = candidates
    .map((candidate) => ({ candidate, distance: editDistance(camel.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  if (best && best.distance <= Math.max(2, name.length / 3)) return `Did you mean \`${best.candidate}\`?`;
  return `Known options: ${[...candidates].sort().join(", ")}`;
}

/** Levenshtein distance, row by row. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
