// Which reranker a language model is: how its pairs are laid out and which logits make its score. Files beside the weights say so
// (1_LogitScore, the chat template); where they do not, the caller's class, then the name, then the architecture decides.
import { RerankerError, shown } from "../errors.js";
import type { JsonObject } from "../files/json.js";
import type { ChatTemplate, RerankClass, RerankerForm } from "../models/index.js";
import { readChatTemplate } from "./chat-template.js";
import type { CheckpointConfig } from "./config.js";
import type { Labels } from "./labels.js";
import { readModules } from "./modules.js";

/** A form, with what the checkpoint's own files say of it. */
export interface CheckpointForm {
  readonly form: RerankerForm;
  /** Of chat layouts. */
  readonly chat: { readonly template: ChatTemplate; readonly stripsTexts: boolean } | undefined;
  readonly instruction: string | null;
  /** Of the classifier's output, or of the words below. */
  readonly labelWeights: readonly number[];
  /** Words whose logits score, or their ids; undefined for classifiers and other heads. */
  readonly labels: readonly (string | number)[] | undefined;
}

/**
 * @param wanted - Class that the caller loads or converts for.
 * @throws {RerankerError} `CONVERT_FAILED` for modules or a classifier whose scores are not known.
 */
export async function readForm(
  source: string,
  config: CheckpointConfig,
  name: string,
  wanted: RerankClass | undefined,
): Promise<CheckpointForm> {
  const { profile } = config;
  const isPlain = profile.score.kind !== "labels" && config.labels === undefined;
  if (!profile.forms || isPlain) return { form: profile, chat: undefined, instruction: null, labelWeights: [], labels: undefined };
  const pairForm = profile.forms.find(isPairForm);
  const forms = profile.forms.filter((form) => !isPairForm(form));
  const types = (await readModules(source))?.map(({ type }) => type);
  if (types && !["Transformer", "Transformer,LogitScore"].includes(types.join()))
    throw refused(`\`modules.json\` lists ${types.join(", ")}; a ${config.name} reranker has Transformer, or Transformer and LogitScore`);
  const tokens = types?.includes("LogitScore") ? logitScore(config.json) : undefined;
  if (tokens && wanted === "decoder-only-base")
    throw refused(
      "`modules.json` has LogitScore, so that this is sentence-transformers' reranker, not FlagLLMReranker's: use Reranker.load()",
    );
  if (pairForm && config.labels)
    return readPairClassifier(source, config, config.labels, pairForm, { wanted, hasLogits: tokens !== undefined });
  const form = choose(forms, wanted, name, tokens);
  if (tokens && form.class !== "cross-encoder" && wanted === undefined)
    throw refused(
      `\`modules.json\` has LogitScore, and how sentence-transformers lays out the pairs of a ${config.name} is not known here`,
    );
  const read = form.class === "cross-encoder" ? await readChatTemplate(source) : undefined;
  if (tokens && !read && form.layout.kind !== "chat")
    throw refused("`modules.json` has LogitScore, but there is no chat template with a query and a document to lay out pairs by");
  const isClassifier = config.labels !== undefined;
  if (isClassifier && form.class !== "cross-encoder") throw refused(`A ${config.name} has no language-model head to score by "Yes"`);
  if (!read && form.layout.kind !== "chat" && isClassifier && config.labels?.count !== 2) {
    throw refused(
      `How a ${config.name} with one label lays out its pairs is not known: it has no chat template with query and document, and is not the two-label form of mxbai-rerank v2`,
    );
  }
  const laidOut = read ? asChat(form, read.template, read.stripsTexts) : form;
  const isOwn = JSON.stringify(laidOut.layout) === JSON.stringify(form.layout);
  return {
    form: laidOut,
    chat: laidOut.layout.kind === "chat" ? laidOut.layout : undefined,
    instruction: read ? read.instruction : (form.defaults.instruction ?? null),
    ...(isClassifier ? { labelWeights: [1], labels: undefined } : scoredBy(laidOut, tokens, isOwn)),
  };
}

const isPairForm = ({ class: of, layout }: RerankerForm): boolean => of === "cross-encoder" && layout.kind === "pair";

/** A classifier whose pairs the tokenizer lays out, as AutoModelForSequenceClassification is used. */
async function readPairClassifier(
  source: string,
  { name, profile }: CheckpointConfig,
  labels: Labels,
  form: RerankerForm,
  { wanted, hasLogits }: { readonly wanted: RerankClass | undefined; readonly hasLogits: boolean },
): Promise<CheckpointForm> {
  if (wanted !== undefined && wanted !== form.class)
    throw refused(`A ${name} is no model of the class ${shown(wanted)}: it has a classifier's head, and its class is ${form.class}`);
  if (hasLogits) throw refused(`\`modules.json\` has LogitScore, and a ${name} has no language-model head that it could read`);
  if (labels.count !== 1)
    throw refused(`A ${name} of two labels is not supported: which sign its scores have is told for one label (\`num_labels\`: 1) only`);
  if (await readChatTemplate(source))
    throw refused(
      `The checkpoint has a chat template with query and document, and ${profile.architecture} classifiers read pairs as the tokenizer joins them here: which of the two it was trained with is not known`,
    );
  return { form, chat: undefined, instruction: null, labelWeights: [1], labels: undefined };
}

interface LogitScore {
  readonly yes: number;
  readonly no: number | null;
}

/** sentence-transformers 6 cross_encoder/modules/logit_score.py */
function logitScore(json: JsonObject): LogitScore {
  const [yes, no] = [json["modules.1.true_token_id"], json["modules.1.false_token_id"] ?? null];
  const isId = (id: unknown): id is number => Number.isInteger(id) && (id as number) >= 0;
  if (isId(yes) && (no === null || isId(no))) return { yes, no };
  throw refused(
    `1_LogitScore/config.json has the ids ${shown(yes ?? null)} and ${shown(no)}; expected a token id, and another one or null`,
  );
}

function choose(
  forms: readonly RerankerForm[],
  wanted: RerankClass | undefined,
  name: string,
  tokens: LogitScore | undefined,
): RerankerForm {
  const of = forms.filter((form) => wanted === undefined || form.class === wanted);
  const [first] = of;
  if (!first)
    throw refused(
      `The checkpoint is no model of the class ${shown(wanted)}: its classes are ${[...new Set(forms.map((form) => form.class))].join(", ")}`,
    );
  const labelCount = tokens && first.class === "cross-encoder" ? (tokens.no === null ? 1 : 2) : undefined;
  const fits = (form: RerankerForm) =>
    form.class === "cross-encoder" && form.score.kind === "labels" && form.score.labels.length === labelCount;
  if (labelCount !== undefined) return of.find(fits) ?? first;
  return of.find((form) => form.checkpointName?.test(name)) ?? first;
}

/** The checkpoint's own template in the place of the form's. */
function asChat(form: RerankerForm, template: ChatTemplate, stripsTexts: boolean): RerankerForm {
  const hasInstruction = template.some((part) => typeof part !== "string" && part.slot === "instruction");
  const options = form.options.filter((option) => option !== "instruction" || hasInstruction);
  const defaults = { ...form.defaults, queryInstruction: null, documentInstruction: null, prompt: null };
  return { ...form, defaults, options, layout: { kind: "chat", template, stripsTexts } };
}

/** The form's words, or the ids that the checkpoint names. Scaled weights belong to the form's own layout. */
function scoredBy(form: RerankerForm, tokens: LogitScore | undefined, isOwn: boolean): Pick<CheckpointForm, "labels" | "labelWeights"> {
  const labels = form.score.kind === "labels" ? form.score.labels : [];
  const weights = labels.map(({ weight }) => weight);
  if (!tokens || form.class !== "cross-encoder") return { labels: labels.map(({ token }) => token), labelWeights: weights };
  const ids = tokens.no === null ? [tokens.yes] : [tokens.yes, tokens.no];
  return { labels: ids, labelWeights: isOwn && ids.length === weights.length ? weights : ids.length === 1 ? [1] : [1, -1] };
}

function refused(why: string): RerankerError {
  return new RerankerError("CONVERT_FAILED", `${why}.`);
}
