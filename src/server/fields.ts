// How a value of a JSON body is read: lenient in form ("true", "3"), strict in meaning. Each reader also carries the JSON
// schema that tells it in /openapi.json, so that neither can drift.
import { HttpError } from "./http-error.js";

export type JsonSchema = Readonly<Record<string, unknown>>;

export interface Field<T> {
  readonly schema: JsonSchema;
  /** @throws {HttpError} 400 naming the field. */
  readonly read: (value: unknown, name: string) => T;
}

/** What a table of fields reads. */
export type Values<F> = { readonly [K in keyof F]?: F[K] extends Field<infer T> ? T : never };

/** A value as a message shows it: short, since clients print it and logs keep it. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

export function wrong(name: string, expected: string, value: unknown): HttpError {
  return new HttpError(400, `Expected \`${name}\` to be ${expected}, got ${show(value)}`, { param: name });
}

/** RAGFlow sends booleans as text. */
export function flag(description: string): Field<boolean> {
  return {
    schema: { type: "boolean", description },
    read(value, name) {
      if (typeof value === "boolean") return value;
      if (typeof value === "string" && /^(true|false)$/i.test(value)) return value.toLowerCase() === "true";
      throw wrong(name, "true or false", value);
    },
  };
}

export function integer(description: string, minimum: number): Field<number> {
  return {
    schema: { type: "integer", minimum, description },
    read(value, name) {
      const number = typeof value === "string" && /^-?\d+$/.test(value) ? Number(value) : value;
      if (typeof number === "number" && Number.isSafeInteger(number) && number >= minimum) return number;
      throw wrong(name, `an integer of at least ${minimum}`, value);
    },
  };
}

export function number(description: string): Field<number> {
  return {
    schema: { type: "number", description },
    read(value, name) {
      const parsed = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
      if (typeof parsed === "number" && Number.isFinite(parsed)) return parsed;
      throw wrong(name, "a number", value);
    },
  };
}

export function text(description: string): Field<string> {
  return {
    schema: { type: "string", description },
    read(value, name) {
      if (typeof value === "string") return value;
      throw wrong(name, "a string", value);
    },
  };
}

/** One of some words, in any case: TEI's clients send `Left` and `left`. */
export function word<const W extends string>(description: string, words: readonly W[]): Field<W> {
  return {
    schema: { type: "string", enum: words, description },
    read(value, name) {
      const found = typeof value === "string" ? words.find((each) => each === value.toLowerCase()) : undefined;
      if (found !== undefined) return found;
      throw wrong(name, `one of ${words.join(", ")}`, value);
    },
  };
}

export function words(description: string): Field<readonly string[]> {
  return {
    schema: { type: "array", items: { type: "string" }, description },
    read(value, name) {
      if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value;
      throw wrong(name, "an array of strings", value);
    },
  };
}

/** Whatever JSON holds: checked by who takes it. */
export function any(schema: JsonSchema): Field<unknown> {
  return { schema, read: (value) => value };
}

/** A field that is accepted and means nothing here, by the contract of the API it comes from. */
export function ignored(description: string): Field<undefined> {
  return { schema: { description }, read: () => undefined };
}

export interface ReadBody<F> {
  readonly values: Values<F>;
  /** Fields that no dialect knows. */
  readonly unknown: readonly string[];
}

/** Reads a body by a table. `null` is as good as absent, and a name in camelCase as good as the snake_case one. */
export function readFields<F extends Readonly<Record<string, Field<unknown>>>>(
  body: Readonly<Record<string, unknown>>,
  table: F,
): ReadBody<F> {
  const values: Record<string, unknown> = {};
  const unknown: string[] = [];
  for (const [key, value] of Object.entries(body)) {
    if (value === null || value === undefined) continue;
    const name = Object.hasOwn(table, key) ? key : snakeCase(key);
    if (!Object.hasOwn(table, name)) unknown.push(key);
    else if (name !== key && (body[name] ?? null) !== null)
      throw new HttpError(400, `\`${key}\` and \`${name}\` are the same field: give one of them`, { param: key });
    else values[name] = table[name]?.read(value, key);
  }
  return { values: values as Values<F>, unknown };
}

export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
