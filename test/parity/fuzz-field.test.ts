// A short run of test/fuzz/field.mjs; `node test/fuzz/field.mjs` does the long one.
import { expect, it } from "vitest";
import { fuzzField } from "../fuzz/field.mjs";

it.each(["gguf", "checkpoint", "tools"] as const)(
  "%s: no crash, no error without a type, no score of weights that are not finite",
  { timeout: 300_000 },
  (part) => {
    expect(fuzzField(part, 50, 7)).toMatchObject({ runs: 50, untyped: [], crashes: [], wrong: [] });
  },
);
