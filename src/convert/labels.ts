// How many outputs a classifier has, and which of two says "relevant".
import { RerankerError, shown } from "../errors.js";
import { isObject, type JsonObject } from "../files/json.js";

/** One output is the score; of two, the difference that a softmax makes a probability of. */
export type Labels = { readonly count: 1 } | { readonly count: 2; readonly relevant: 0 | 1 };

const NEGATIVE =
  /^(label_0|0|no|false|negative|neg|irrelevant|(not|non|un|in)[ _-]?(relevant|related|match|duplicate|answer|entailment).*)$/i;
const POSITIVE = /^(label_1|1|yes|true|positive|pos|relevant|related|match(es|ing)?|duplicate|answer|entailment)$/i;

/**
 * As transformers counts: `id2label` first, then `num_labels`, and 2 when neither is there.
 *
 * @throws {RerankerError} `CONVERT_FAILED` for more outputs than two, or two whose names do not say which is which.
 */
export function readLabels(json: JsonObject): Labels {
  const names = json["id2label"] ?? undefined;
  if (names !== undefined && !isObject(names)) throw refused(`\`id2label\` in config.json is ${shown(names)}; it maps numbers to names`);
  const numLabels = json["num_labels"] ?? undefined;
  const counted = names ? Object.keys(names).length : (numLabels ?? 2);
  if (numLabels !== undefined && numLabels !== counted)
    throw refused(
      `\`num_labels\` in config.json is ${shown(numLabels)} and \`id2label\` names ${shown(counted)} labels: which is right is not known`,
    );
  if (counted === 1) return { count: 1 };
  if (counted !== 2) {
    throw refused(
      `The model has ${shown(counted)} labels (\`id2label\`, \`num_labels\`); a reranker has one output, or two for irrelevant and relevant. A classifier cannot be used as one; fine-tune with \`num_labels=1\``,
    );
  }
  const of = (id: string, otherwise: string) => (names && Object.hasOwn(names, id) ? names[id] : names ? undefined : otherwise);
  const first = of("0", "LABEL_0");
  const second = of("1", "LABEL_1");
  const is = (label: unknown, pattern: RegExp) => pattern.test(String(label ?? ""));
  if (is(first, NEGATIVE) && is(second, POSITIVE)) return { count: 2, relevant: 1 };
  if (is(first, POSITIVE) && is(second, NEGATIVE)) return { count: 2, relevant: 0 };
  throw refused(
    `The model has two labels, ${shown(first ?? null)} and ${shown(second ?? null)} (\`id2label\`), and which of them means relevant is not known. Name them irrelevant and relevant in config.json if it is a reranker`,
  );
}

function refused(why: string): RerankerError {
  return new RerankerError("CONVERT_FAILED", `${why}.`);
}
