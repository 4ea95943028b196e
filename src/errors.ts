// The one error class of this package, its codes, and how values and native errors become part of it.

/**
 * - `ADDON_NOT_FOUND` no prebuilt addon for this platform and no local build
 * - `GGML_NOT_FOUND` the ggml libraries are not installed or do not load · `GGML_VERSION` another version is in the process
 * - `DEVICE_NOT_FOUND` the device asked for is not there
 * - `MODEL_NOT_FOUND` no such file, folder or name · `MODEL_INVALID` damaged or malformed file
 * - `MODEL_CHANGED` the file was overwritten, cut short or replaced after it was loaded
 * - `MODEL_UNSUPPORTED` a sound file of something that cannot be scored right · `TOKENIZER_UNSUPPORTED` likewise for its tokenizer
 * - `INPUT_TOO_LONG` a pair has more tokens than the model has positions · `TRUNCATED` with `overflow: "error"`
 * - `OUT_OF_MEMORY` · `CLOSED` used after dispose() · `COMPUTE_FAILED` the backend failed or a logit is not finite
 * - `DOWNLOAD_FAILED` the hub gives no access, or the connection kept failing
 * - `CONVERT_FAILED` a checkpoint that cannot be converted · `IO` reading or writing failed
 */
export type RerankerErrorCode =
  | "ADDON_NOT_FOUND"
  | "GGML_NOT_FOUND"
  | "GGML_VERSION"
  | "DEVICE_NOT_FOUND"
  | "MODEL_NOT_FOUND"
  | "MODEL_INVALID"
  | "MODEL_CHANGED"
  | "MODEL_UNSUPPORTED"
  | "TOKENIZER_UNSUPPORTED"
  | "INPUT_TOO_LONG"
  | "TRUNCATED"
  | "OUT_OF_MEMORY"
  | "CLOSED"
  | "COMPUTE_FAILED"
  | "DOWNLOAD_FAILED"
  | "CONVERT_FAILED"
  | "IO";

/** An error that is not the caller's mistake (those are TypeError and RangeError). `message` says what to do. */
export class RerankerError extends Error {
  override readonly name = "RerankerError";
  readonly code: RerankerErrorCode;

  constructor(code: RerankerErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

const SHOWN = 80;

/** A value from a file as a message shows it, in JSON: strangers write long ones. No value is too large or too odd for it. */
export function shown(value: unknown): string {
  return cutToLine(spell(value, SHOWN + 1, []) ?? "nothing");
}

/** JSON as far as `room` goes, with words for what JSON does not know. */
function spell(value: unknown, room: number, within: readonly object[]): string | undefined {
  if (typeof value === "string") return JSON.stringify(value.slice(0, SHOWN + 1));
  if (typeof value === "bigint") return value > -(2n ** 256n) && value < 2n ** 256n ? `${value}n` : "a huge bigint";
  if (typeof value === "function") return "a function";
  if (typeof value === "symbol" || typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value !== "object" || value === null) return value === null ? "null" : undefined;
  if (within.includes(value)) return "(itself)";
  try {
    return Array.isArray(value) || ArrayBuffer.isView(value)
      ? spellList(value as ArrayLike<unknown>, room, within)
      : spellObject(value, room, within);
  } catch (error) {
    return `(${error instanceof Error ? cutToLine(error.message) : "unreadable"})`; // a getter or a proxy that throws
  }
}

function spellList(list: ArrayLike<unknown>, room: number, within: readonly object[]): string {
  let text = "[";
  for (let i = 0; i < list.length && text.length < room; i++) {
    text += `${i > 0 ? "," : ""}${spell(list[i], room - text.length, [...within, list]) ?? "undefined"}`;
  }
  return `${text}]`;
}

function spellObject(object: object, room: number, within: readonly object[]): string {
  const name = Object.getPrototypeOf(object)?.constructor?.name as unknown;
  const plain = name === undefined || name === "Object" || typeof name !== "string";
  let text = plain ? "{" : `${name} {`;
  let isFirst = true;
  for (const key in object) {
    if (text.length >= room) break;
    if (!Object.hasOwn(object, key)) continue;
    text += `${isFirst ? "" : ","}${JSON.stringify(key.slice(0, SHOWN))}:${spell((object as Record<string, unknown>)[key], room - text.length, [...within, object]) ?? "undefined"}`;
    isFirst = false;
  }
  return `${text}}`;
}

export function cutToLine(text: string): string {
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}

const CODES = {
  ADDON_NOT_FOUND: true,
  GGML_NOT_FOUND: true,
  GGML_VERSION: true,
  DEVICE_NOT_FOUND: true,
  MODEL_NOT_FOUND: true,
  MODEL_INVALID: true,
  MODEL_CHANGED: true,
  MODEL_UNSUPPORTED: true,
  TOKENIZER_UNSUPPORTED: true,
  INPUT_TOO_LONG: true,
  TRUNCATED: true,
  OUT_OF_MEMORY: true,
  CLOSED: true,
  COMPUTE_FAILED: true,
  DOWNLOAD_FAILED: true,
  CONVERT_FAILED: true,
  IO: true,
} as const satisfies Record<RerankerErrorCode, true>;

/**
 * A native error under its own code, or `otherwise` where it has none of ours.
 * Errors made in TypeScript pass unchanged. Made here, it carries the stack of the JS call.
 */
export function asRerankerError(error: unknown, otherwise: RerankerErrorCode): unknown {
  if (error instanceof RerankerError || error instanceof TypeError || error instanceof RangeError) return error;
  if (!(error instanceof Error)) return error;
  const code =
    "code" in error && typeof error.code === "string" && Object.hasOwn(CODES, error.code) ? (error.code as RerankerErrorCode) : otherwise;
  return new RerankerError(code, error.message, { cause: error });
}
