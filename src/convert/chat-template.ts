// The chat template of a reranker, taken apart into its text and the places of instruction, query and document: it is rendered
// once with marks in their places. Templates of ordinary chat models, which know no query and document, do not count.
// Source: sentence-transformers 6 cross_encoder, which gives the roles system, query and document to the template.
import { join } from "node:path";
import { RerankerError, shown } from "../errors.js";
import { readBounded } from "../files/bounded-file.js";
import { isObject, type JsonObject, readJsonObject } from "../files/json.js";
import type { ChatTemplate } from "../models/index.js";

export interface ReadTemplate {
  readonly template: ChatTemplate;
  /** What stands in the instruction's place unless told otherwise; null: the template has no such place. */
  readonly instruction: string | null;
  readonly stripsTexts: boolean;
}

const MAX_TEMPLATE_BYTES = 1 << 20;

/** @throws {RerankerError} `CONVERT_FAILED` for a template that takes query and document, but not one of each in that order. */
export async function readChatTemplate(source: string): Promise<ReadTemplate | undefined> {
  const tokenizer = (await readJsonObject(join(source, "tokenizer_config.json"))) ?? {};
  const text = await templateText(source, tokenizer);
  if (text === undefined) return undefined;
  const settings = (await readJsonObject(join(source, "config_sentence_transformers.json"))) ?? {};
  const transformer = (await readJsonObject(join(source, "sentence_bert_config.json"))) ?? {};
  const { Template } = await import("@huggingface/jinja");
  const variables = { ...specialTokens(tokenizer), ...templateOptions(transformer) };
  const render: Render = (messages) => {
    try {
      return new Template(text).render({ ...variables, messages });
    } catch {
      return undefined; // a template of another kind of model raises
    }
  };
  return takeApart(render, promptOf(settings));
}

async function templateText(source: string, tokenizer: JsonObject): Promise<string | undefined> {
  const refuse = (what: string) => new RerankerError("CONVERT_FAILED", `${what}.`);
  const file = await readBounded(join(source, "chat_template.jinja"), MAX_TEMPLATE_BYTES, refuse);
  if (file) return new TextDecoder().decode(file);
  const json = await readJsonObject(join(source, "chat_template.json"));
  const given = json?.["chat_template"] ?? tokenizer["chat_template"];
  if (typeof given === "string") return given;
  if (!Array.isArray(given)) return undefined;
  const named: unknown = given.find((each) => isObject(each) && each["name"] === "default");
  return isObject(named) && typeof named["template"] === "string" ? named["template"] : undefined;
}

function specialTokens(tokenizer: JsonObject): Record<string, string> {
  const names = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
  return Object.fromEntries(
    names.flatMap((name) => {
      const token = tokenizer[name];
      const text = isObject(token) ? token["content"] : token;
      return typeof text === "string" ? [[name, text]] : [];
    }),
  );
}

function templateOptions(transformer: JsonObject): JsonObject {
  const all = transformer["processing_kwargs"];
  const options = isObject(all) ? all["chat_template"] : undefined;
  return isObject(options) ? options : {};
}

/** The prompt that sentence-transformers gives as the system message. */
function promptOf(settings: JsonObject): string | undefined {
  const name = settings["default_prompt_name"];
  const prompts = settings["prompts"];
  const prompt = typeof name === "string" && isObject(prompts) ? prompts[name] : undefined;
  return typeof prompt === "string" ? prompt : undefined;
}

interface Message {
  readonly role: string;
  /** undefined: as where nobody gave one. */
  readonly content: string | undefined;
}
type Render = (messages: readonly Message[]) => string | undefined;

const MARKS = { instruction: "\uE000I\uE001", query: "\uE000Q\uE001", document: "\uE000D\uE001" } as const;
type Slot = keyof typeof MARKS;

function takeApart(render: Render, prompt: string | undefined): ReadTemplate | undefined {
  const pair = [
    { role: "query", content: ` ${MARKS.query} ` },
    { role: "document", content: ` ${MARKS.document} ` },
  ];
  const whole = render([{ role: "system", content: ` ${MARKS.instruction} ` }, ...pair]);
  if (whole === undefined || !whole.includes(MARKS.query) || !whole.includes(MARKS.document)) return undefined;
  const count = (mark: string) => whole.split(mark).length - 1;
  if (
    count(MARKS.query) !== 1 ||
    count(MARKS.document) !== 1 ||
    count(MARKS.instruction) > 1 ||
    whole.indexOf(MARKS.query) > whole.indexOf(MARKS.document)
  )
    throw refused("does not hold one query and, after it, one document");
  const slots = (Object.keys(MARKS) as Slot[]).filter((slot) => whole.includes(MARKS[slot]));
  const strips = slots.map((slot) => !whole.includes(` ${MARKS[slot]} `));
  if (strips.includes(true) && strips.includes(false)) throw refused("strips white space from some of its texts and not from others");
  const stripsTexts = strips.includes(true);
  const places = slots
    .map((slot) => ({ slot, text: stripsTexts ? MARKS[slot] : ` ${MARKS[slot]} ` }))
    .sort((a, b) => whole.indexOf(a.text) - whole.indexOf(b.text));
  const template: ChatTemplate[number][] = [];
  let rest = whole;
  for (const { slot, text } of places) {
    const at = rest.indexOf(text);
    if (at > 0) template.push(...(template.length === 0 ? opening(rest.slice(0, at)) : [rest.slice(0, at)]));
    template.push({ slot });
    rest = rest.slice(at + text.length);
  }
  if (rest === "" || typeof template[0] !== "string") throw refused("begins or ends with a text of the user's");
  template.push(rest);
  return { template, stripsTexts, instruction: slots.includes("instruction") ? (prompt ?? ownInstruction(template, render, pair)) : null };
}

/** Lines that end before the first text of the user's are encoded by themselves. */
function opening(text: string): string[] {
  const end = text.lastIndexOf("\n") + 1;
  return end > 0 && end < text.length ? [text.slice(0, end), text.slice(end)] : [text];
}

/**
 * What the template says where nobody gives an instruction. Some look whether there is a system message, others take the first
 * content there is; of the latter's `[] | first | default(...)` the library makes nothing, so both ways are tried.
 */
function ownInstruction(template: ChatTemplate, render: Render, pair: readonly Message[]): string {
  const at = template.findIndex((part) => typeof part !== "string" && part.slot === "instruction");
  const join = (parts: ChatTemplate) => parts.map((part) => (typeof part === "string" ? part : ` ${MARKS[part.slot]} `)).join("");
  const [before, after] = [join(template.slice(0, at)), join(template.slice(at + 1))];
  const found = [render(pair), render([{ role: "system", content: undefined }, ...pair])].map((rendered) =>
    rendered?.startsWith(before) && rendered.endsWith(after) && rendered.length >= before.length + after.length
      ? rendered.slice(before.length, rendered.length - after.length)
      : undefined,
  );
  const said = [...new Set(found.filter((text) => text !== undefined && !/^(undefined|None)?$/.test(text)))];
  if (said.length < 2 && found.some((text) => text !== undefined)) return said[0] ?? "";
  throw refused(`does not tell what it says without an instruction (${shown(said)}): name one in config_sentence_transformers.json`);
}

function refused(why: string): RerankerError {
  return new RerankerError("CONVERT_FAILED", `The chat template of the checkpoint ${why}, which is not supported.`);
}
