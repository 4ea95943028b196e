// Comparing secrets.
import { createHash, timingSafeEqual } from "node:crypto";

/** In the same time whatever they have in common. */
export function sameSecret(a: string, b: string): boolean {
  const hash = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(hash(a), hash(b));
}
