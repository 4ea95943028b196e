// Texts on their way to C++: in one go when they are small, else in steps, since copying them takes the JS thread.
import type { NativeModel, NativeTexts } from "../addon/native.js";
import type { Pace } from "./pace.js";

// Characters that cross in about two milliseconds.
const STEP_CHARACTERS = 1 << 19;

/** @returns The texts, for one native call. */
export async function handOver(model: NativeModel, texts: readonly string[], pace: Pace): Promise<readonly string[] | NativeTexts> {
  if (isLittle(texts)) return texts;
  const out = model.texts();
  let group: string[] = [];
  let size = 0;
  const flush = () => {
    if (group.length > 0) out.add(group);
    group = [];
    size = 0;
  };
  for (const text of texts) {
    if (text.length > STEP_CHARACTERS) {
      flush();
      await addLarge(out, text, pace);
      continue;
    }
    group.push(text);
    size += text.length + 16;
    if (size < STEP_CHARACTERS) continue;
    flush();
    if (pace.isDue) await pace.rest();
  }
  flush();
  return out;
}

function isLittle(texts: readonly string[]): boolean {
  let size = 0;
  for (const text of texts) {
    size += text.length + 16;
    if (size > STEP_CHARACTERS) return false;
  }
  return true;
}

async function addLarge(texts: NativeTexts, text: string, pace: Pace): Promise<void> {
  texts.add([""]);
  for (let start = 0; start < text.length; ) {
    const end = endOfPart(text, start + STEP_CHARACTERS);
    texts.append(text.slice(start, end));
    start = end;
    if (pace.isDue) await pace.rest();
  }
}

/** `end`, or one less where that stands between two surrogates. */
export function endOfPart(text: string, end: number): number {
  if (end >= text.length) return text.length;
  const last = text.charCodeAt(end - 1);
  return last >= 0xd800 && last <= 0xdbff ? end - 1 : end;
}
