// How `post_processor` of a tokenizer.json joins a pair. sentence-transformers and tokenizers obey it; FlagEmbedding joins
// pairs as the tokenizer class does. Scores mean something only where both agree with the layout of the file.
import { RerankerError, shown } from "../errors.js";
import { isObject, type JsonObject } from "../files/json.js";

export interface PairTemplate {
  readonly before: readonly number[];
  readonly between: readonly number[];
  readonly after: readonly number[];
  /** Token type of everything from the document on; null: that of tokens between the texts too, which only models without types read. */
  readonly documentTokenType: number | null;
}

/**
 * @returns null when nothing is put around the texts.
 * @throws {RerankerError} `TOKENIZER_UNSUPPORTED` for a way of joining that no layout has.
 */
export function pairTemplateOf(postProcessor: unknown): PairTemplate | null {
  if (!isObject(postProcessor)) return null;
  switch (postProcessor["type"]) {
    case "ByteLevel": // only moves offsets
      return null;
    case "Sequence": {
      const processors: unknown = postProcessor["processors"];
      const found = (Array.isArray(processors) ? processors : []).map(pairTemplateOf).filter((template) => template !== null);
      if (found.length > 1) throw unsupported("several templates, one after the other");
      return found[0] ?? null;
    }
    case "BertProcessing":
      return {
        before: [idOf(postProcessor, "cls")],
        between: [idOf(postProcessor, "sep")],
        after: [idOf(postProcessor, "sep")],
        documentTokenType: 1,
      };
    case "RobertaProcessing": {
      const sep = idOf(postProcessor, "sep");
      return { before: [idOf(postProcessor, "cls")], between: [sep, sep], after: [sep], documentTokenType: 0 };
    }
    case "TemplateProcessing":
      return fromTemplate(postProcessor);
    default:
      throw unsupported(`a processor of type ${shown(postProcessor["type"])}`);
  }
}

interface Item {
  readonly text: string | undefined;
  readonly ids: readonly number[];
  readonly type: unknown;
}

function fromTemplate(template: JsonObject): PairTemplate | null {
  const pair: unknown = template["pair"];
  if (!Array.isArray(pair)) throw unsupported("a template without `pair`");
  const items = pair.map((item) => itemOf(item, template["special_tokens"]));
  const query = items.findIndex(({ text }) => text === "A");
  const document = items.findIndex(({ text }) => text === "B");
  const texts = items.filter(({ text }) => text !== undefined).length;
  if (query < 0 || document < query || texts !== 2) throw unsupported("a template that does not have A and then B");
  if (items.length === 2) return null;
  const type = items[document]?.type;
  const [first, second] = [items.slice(0, document), items.slice(document)];
  const between = items.slice(query + 1, document);
  const isOf = (part: readonly Item[], wanted: unknown) => part.every((item) => item.type === wanted);
  const isEarly = between.length > 0 && isOf(between, type) && type !== 0;
  if (typeof type !== "number" || !isOf(isEarly ? items.slice(0, query + 1) : first, 0) || !isOf(second, type))
    throw unsupported("token types that change elsewhere than at the document");
  const idsOf = (part: readonly Item[]) => part.flatMap(({ ids }) => ids);
  return {
    before: idsOf(items.slice(0, query)),
    between: idsOf(between),
    after: idsOf(items.slice(document + 1)),
    documentTokenType: isEarly ? null : type,
  };
}

function itemOf(item: unknown, specialTokens: unknown): Item {
  const { Sequence: text, SpecialToken: special } = isObject(item) ? item : {};
  if (isObject(text) && typeof text["id"] === "string") return { text: text["id"], ids: [], type: text["type_id"] };
  const name = isObject(special) ? special["id"] : undefined;
  const token: unknown =
    isObject(specialTokens) && typeof name === "string" && Object.hasOwn(specialTokens, name) ? specialTokens[name] : undefined;
  const ids: unknown = isObject(token) ? token["ids"] : undefined;
  if (!isObject(special) || !Array.isArray(ids) || !ids.every((id) => Number.isInteger(id))) throw unsupported(`the item ${shown(item)}`);
  return { text: undefined, ids: ids as number[], type: special["type_id"] };
}

function idOf(processor: JsonObject, key: string): number {
  const token: unknown = processor[key];
  const id: unknown = Array.isArray(token) ? token[1] : undefined;
  if (typeof id !== "number" || !Number.isInteger(id)) throw unsupported(`\`${key}\` = ${shown(token)}`);
  return id;
}

/**
 * @param own - As the tokenizer class joins a pair by itself.
 * @throws {RerankerError} `TOKENIZER_UNSUPPORTED` when the file's layout would not give what the tokenizer gives.
 */
export function throwIfJoinedOtherwise(layout: PairTemplate, template: PairTemplate | null, own: boolean): void {
  if (template === null) {
    if (own) return;
    throw unsupported(
      "no special tokens around the texts, and its tokenizer class has none of its own",
      "Save the tokenizer with the class of the model",
    );
  }
  const same = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((id, i) => id === b[i]);
  if (
    same(layout.before, template.before) &&
    same(layout.between, template.between) &&
    same(layout.after, template.after) &&
    // A model without token types is not told them.
    (layout.documentTokenType === template.documentTokenType || layout.documentTokenType === 0)
  )
    return;
  throw unsupported(
    `a pair as ${spelled(template)}, and the model reads ${spelled(layout)}`,
    "Which of the two it was trained with is not known; save the tokenizer as it was in training",
  );
}

function spelled({ before, between, after, documentTokenType }: PairTemplate): string {
  return `[${before.join(" ")}] query [${between.join(" ")}] document [${after.join(" ")}], ${documentTokenType === null ? "token types that change before it" : `token type ${documentTokenType}`}`;
}

function unsupported(what: string, advice?: string): RerankerError {
  return new RerankerError("TOKENIZER_UNSUPPORTED", `\`post_processor\` of tokenizer.json asks for ${what}.${advice ? ` ${advice}.` : ""}`);
}
