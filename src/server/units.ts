// Sizes and times as people write them.
const BYTES = { b: 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40 } as const;
const MILLISECONDS = { ms: 1, s: 1e3, m: 60e3, h: 3600e3 } as const;

/** Bytes, or text such as `16MB` (16 × 1000²) and `16MiB` (16 × 1024²). */
export type Bytes = number | string;
/** Milliseconds, or text such as `500ms`, `30s`, `5m`, `1h`. */
export type Duration = number | string;

export function parseBytes(name: string, value: Bytes): number {
  return parse(name, value, BYTES, 'a number of bytes, or text such as "16MB"');
}

export function parseDuration(name: string, value: Duration): number {
  return parse(name, value, MILLISECONDS, 'milliseconds, or text such as "30s"');
}

function parse(name: string, value: unknown, units: Readonly<Record<string, number>>, expected: string): number {
  const refuse = (kind: typeof TypeError | typeof RangeError) =>
    new kind(`Expected \`${name}\` to be ${expected}, got \`${String(value)}\``);
  if (typeof value === "number") {
    if (!Number.isFinite(value) || value < 0) throw refuse(RangeError);
    return value;
  }
  if (typeof value !== "string") throw refuse(TypeError);
  const [, number, unit] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(value) ?? [];
  const factor = unit === "" ? 1 : units[unit?.toLowerCase() ?? ""];
  if (number === undefined || factor === undefined) throw refuse(RangeError);
  return Math.floor(Number(number) * factor);
}
