// Bearer keys, compared in constant time.
import { createHash, timingSafeEqual } from "node:crypto";
import { HttpError } from "./http-error.js";

const digest = (text: string) => createHash("sha256").update(text).digest();

/** @returns A check that throws 401 unless the headers bear one of the keys. Without keys everyone may come in. */
export function keyCheck(keys: readonly string[]): (headers: Headers) => void {
  const known = keys.map(digest);
  return (headers) => {
    if (known.length === 0) return;
    const given = givenKey(headers);
    if (given === "") throw refusal("An API key is needed: send it as `Authorization: Bearer KEY`");
    const hashed = digest(given);
    // All are compared, so that time tells neither which nor how much of one was right.
    const matches = known.filter((key) => timingSafeEqual(key, hashed));
    if (matches.length === 0) throw refusal("The API key is not one of this server's");
  };
}

/** `Bearer KEY`, a bare `KEY` (langchain-mixedbread), `x-api-key`; an empty Bearer is no key. */
function givenKey(headers: Headers): string {
  const authorization = (headers.get("authorization") ?? "").trim().replace(/^bearer(\s+|$)/i, "");
  return authorization || (headers.get("x-api-key") ?? "").trim() || (headers.get("api-key") ?? "").trim();
}

function refusal(message: string): HttpError {
  return new HttpError(401, message, { headers: { "www-authenticate": "Bearer" } });
}
