// Added and special tokens as PreTrainedTokenizerFast has them after loading: tokenizer.json, then what tokenizer_config.json,
// special_tokens_map.json and added_tokens.json change and extend.
// Source: transformers 4.57 tokenization_utils_base.py (_from_pretrained), tokenization_utils_fast.py (__init__).
import { shown } from "../errors.js";
import { isObject, type JsonObject } from "../files/json.js";
import { invalid } from "./damaged.js";
import type { TokenizerClass } from "./tokenizer-class.js";

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly normalized: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly single_word: boolean;
}

/** The files beside tokenizer.json; an absent one is empty. */
export interface TokenFiles {
  readonly config: JsonObject;
  readonly specialTokensMap: JsonObject;
  readonly addedTokens: JsonObject;
}

/** A special token by the part it plays; null: none. */
export type NamedTokens = Readonly<Record<string, unknown>>;

const ROLES = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"] as const;

/** Ids from here on are nobody's. */
const MAX_ID = 1 << 22;

/** Which token plays which part: text, or an object with a `content`. */
export function namedTokens({ config, specialTokensMap }: TokenFiles, { specialTokens }: TokenizerClass, padding: unknown): NamedTokens {
  // special_tokens_map.json is of the time before added_tokens_decoder: with the latter it is not read at all.
  const given = isObject(config["added_tokens_decoder"]) ? config : { ...config, ...specialTokensMap };
  const padToken = isObject(padding) ? padding["pad_token"] : undefined;
  const otherwise: JsonObject = { ...(padToken === undefined ? {} : { pad_token: padToken }), ...specialTokens };
  return Object.fromEntries(ROLES.map((role) => [role, Object.hasOwn(given, role) ? given[role] : (otherwise[role] ?? null)]));
}

/** @param tokens - Of the model, by id. */
export function readAddedTokens(
  list: unknown,
  files: TokenFiles,
  named: NamedTokens,
  tokens: readonly string[],
  of: TokenizerClass,
): AddedToken[] {
  const added = new Map<string, AddedToken>();
  const ids = new Map(tokens.map((token, id) => [token, id]));
  let next = tokens.length;
  const put = (token: Omit<AddedToken, "id">, id = ids.get(token.content) ?? next): void => {
    added.set(token.content, { ...token, id });
    ids.set(token.content, id);
    next = Math.max(next, id + 1);
  };
  for (const [i, item] of listOf(list, "`added_tokens` of tokenizer.json").entries()) {
    const where = `added_tokens[${i}] of tokenizer.json`;
    const { id, ...token } = readAddedToken(item, undefined, where);
    const known = ids.get(token.content);
    if (known !== undefined && known !== id) throw invalid(`${where} is ${shown(token.content)}, which has the id ${known}`);
    put(token, id);
  }
  const extended = extensions(files, named);
  for (const { id, where, token } of extended) {
    const known = ids.get(token.content) ?? next;
    if (id !== undefined && known !== id) throw invalid(`${where} is ${shown(token.content)}, which has the id ${known}`);
    put(token);
  }
  const flagsOf = (content: string) =>
    extended.find(({ token }) => token.content === content)?.token ?? (hasDecoder(files) ? undefined : added.get(content));
  for (const [role, value] of [...Object.entries(named), ...additional(files)]) {
    const content = tokenText(value);
    if (content === undefined) continue;
    const known = flagsOf(content);
    if (known) put({ ...known, special: true }, ids.get(content));
    else if (isObject(value)) put({ ...flags(value, content, role), special: true });
    else if (role === "mask_token" && of.mask) put({ ...PLAIN, ...of.mask, content, special: true, lstrip: true });
    else if (!added.has(content)) put({ ...PLAIN, content, special: true });
  }
  return [...added.values()].sort((a, b) => a.id - b.id);
}

const PLAIN = { special: false, normalized: false, lstrip: false, rstrip: false, single_word: false } as const;

const hasDecoder = ({ config }: TokenFiles): boolean => isObject(config["added_tokens_decoder"]);

interface Extension {
  readonly id: number | undefined;
  readonly token: Omit<AddedToken, "id">;
  readonly where: string;
}

/** Tokens of tokenizer_config.json, which replace equal ones; in older folders those of added_tokens.json. */
function extensions(files: TokenFiles, named: NamedTokens): Extension[] {
  const decoder = files.config["added_tokens_decoder"];
  if (isObject(decoder)) {
    const entries = Object.entries(decoder).map(([key, item]) => {
      const where = `added_tokens_decoder[${shown(key)}] of tokenizer_config.json`;
      const { id, ...token } = readAddedToken(item, Number(key), where);
      return { id, token, where };
    });
    return entries.sort((a, b) => a.id - b.id);
  }
  const special = new Set([...Object.values(named), ...additional(files).map(([, value]) => value)].map(tokenText));
  return Object.entries(files.addedTokens)
    .map(([content, id]) => {
      const where = `${shown(content)} of added_tokens.json`;
      if (!isId(id)) throw invalid(`${where} has the id ${shown(id)}`);
      const isSpecial = special.has(content);
      return { id, where, token: { ...PLAIN, content, special: isSpecial, normalized: !isSpecial } };
    })
    .sort((a, b) => a.id - b.id);
}

/** `additional_special_tokens`, and what transformers 5 and a few classes call `extra_special_tokens`. */
function additional({ config, specialTokensMap }: TokenFiles): [string, unknown][] {
  const older = isObject(config["added_tokens_decoder"]) ? {} : specialTokensMap;
  const lists = [config["additional_special_tokens"], older["additional_special_tokens"], config["extra_special_tokens"]];
  return lists.flatMap((list) => {
    if (list === undefined || list === null) return [];
    const items: readonly unknown[] = isObject(list)
      ? Object.values(list)
      : listOf(list, "`additional_special_tokens` of tokenizer_config.json");
    return items.map((item): [string, unknown] => ["additional_special_tokens", item]);
  });
}

function readAddedToken(item: unknown, givenId: number | undefined, where: string): AddedToken {
  if (!isObject(item)) throw invalid(`${where} is not an object`);
  const id = givenId ?? item["id"];
  const { content } = item;
  if (typeof content !== "string") throw invalid(`${where} has no \`content\``);
  if (!isId(id)) throw invalid(`${where} has the id ${shown(id)}`);
  return { id, ...flags(item, content, where) };
}

function flags(item: JsonObject, content: string, where: string): Omit<AddedToken, "id"> {
  const flag = (key: string, otherwise: boolean): boolean => {
    const value = item[key];
    if (value === undefined || value === null) return otherwise;
    if (typeof value !== "boolean") throw invalid(`${where} has a \`${key}\` that is neither true nor false`);
    return value;
  };
  const special = flag("special", false);
  return {
    content,
    single_word: flag("single_word", false),
    lstrip: flag("lstrip", false),
    rstrip: flag("rstrip", false),
    normalized: flag("normalized", !special),
    special,
  };
}

function isId(id: unknown): id is number {
  return typeof id === "number" && Number.isInteger(id) && id >= 0 && id < MAX_ID;
}

function listOf(list: unknown, what: string): readonly unknown[] {
  if (list === undefined || list === null) return [];
  if (!Array.isArray(list)) throw invalid(`${what} is not a list`);
  return list;
}

export function tokenText(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  if (isObject(token) && typeof token["content"] === "string") return token["content"];
  return undefined;
}
