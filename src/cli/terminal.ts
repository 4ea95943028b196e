// Writing to a terminal or a pipe: widths, colours, tables, progress.
import { once } from "node:events";
import type { WriteStream } from "node:tty";
import { styleText } from "node:util";

type Style = Parameters<typeof styleText>[0];

/** Styles for a stream: none unless it is a terminal that takes colour and NO_COLOR is not set. */
export function painter(stream: NodeJS.WriteStream): (style: Style, text: string) => string {
  const coloured = stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== "dumb";
  return (style, text) => (coloured ? styleText(style, text, { validateStream: false }) : text);
}

/** Waits while the reader is slow, so that memory does not grow with the output. */
export async function write(stream: NodeJS.WritableStream, text: string): Promise<void> {
  if (!stream.write(text)) await once(stream, "drain");
}

/** A text on one line, without what would move a terminal's cursor or colour it. */
export function oneLine(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gu, " ")
    .replace(/ +/g, " ")
    .trim();
}

const ZERO_WIDTH = /^[\p{Mn}\p{Me}\p{Cf}]$/u;
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]$/u;

/** Columns a text takes in a terminal. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) width += ZERO_WIDTH.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
  return width;
}

/** The text, or its beginning and an ellipsis, in at most `columns`. */
export function shorten(text: string, columns: number): string {
  if (displayWidth(text) <= columns) return text;
  let kept = "";
  let width = 1; // the ellipsis
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    width += displayWidth(segment);
    if (width > columns) break;
    kept += segment;
  }
  return `${kept.trimEnd()}…`;
}

export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, bytes > 0 ? Math.floor(Math.log2(bytes) / 10) : 0);
  const value = bytes / 1024 ** power;
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
}

/** A progress line on standard error, when that is a terminal. */
export interface ProgressLine {
  update(done: number, total: number, note?: string): void;
  /** Removes the line. */
  end(): void;
}

export function progressLine(label: string, stream: WriteStream = process.stderr, quiet = false): ProgressLine {
  if (!stream.isTTY || quiet) return { update: () => {}, end: () => {} };
  let last = 0;
  let shown = false;
  return {
    update(done, total, note = "") {
      const now = Date.now();
      if (now - last < 100 && done < total) return;
      last = now;
      shown = true;
      const part = total > 0 ? Math.min(1, done / total) : 0;
      const filled = Math.round(part * 24);
      const bar = `${"█".repeat(filled)}${"░".repeat(24 - filled)}`;
      stream.write(`\r\u001b[K${shorten(`${label} ${bar} ${Math.floor(part * 100)}%  ${note}`, (stream.columns || 80) - 1)}`);
    },
    end() {
      if (shown) stream.write("\r\u001b[K");
    },
  };
}
