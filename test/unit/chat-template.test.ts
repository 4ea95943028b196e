// Chat templates of rerankers, taken apart; ordinary chat templates; those that cannot be laid out.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { readChatTemplate } from "../../src/convert/chat-template.js";

const root = mkdtempSync(join(tmpdir(), "bge-template-"));
afterAll(() => rmSync(root, { recursive: true }));

function read(template: string | undefined, more: Readonly<Record<string, object>> = {}) {
  const folder = mkdtempSync(join(root, "f-"));
  if (template !== undefined) writeFileSync(join(folder, "chat_template.jinja"), template);
  for (const [name, content] of Object.entries(more)) writeFileSync(join(folder, name), JSON.stringify(content));
  return readChatTemplate(folder);
}

const PAIR =
  '{%- set q = messages | selectattr("role", "eq", "query") | map(attribute="content") | first -%}{%- set d = messages | selectattr("role", "eq", "document") | map(attribute="content") | first -%}';
const SYSTEM = '{%- set i = messages | selectattr("role", "eq", "system") | map(attribute="content") | first | default("find it") -%}';

it("finds the places of both texts and keeps what stands around them", async () => {
  expect(await read(`${PAIR}<s>\nQ: {{ q }} D: {{ d }}</s>\n\n`)).toEqual({
    template: ["<s>\n", "Q: ", { slot: "query" }, " D: ", { slot: "document" }, "</s>\n"],
    instruction: null,
    stripsTexts: false,
  });
});

it("takes the instruction that the template, or the settings beside it, give", async () => {
  const template = `${SYSTEM}${PAIR}I: {{ i }} Q: {{ q }} D: {{ d }}</s>`;
  const expected = ["I: ", { slot: "instruction" }, " Q: ", { slot: "query" }, " D: ", { slot: "document" }, "</s>"];
  expect(await read(template)).toEqual({ template: expected, instruction: "find it", stripsTexts: false });
  const settings = { "config_sentence_transformers.json": { default_prompt_name: "x", prompts: { x: "rank" } } };
  expect((await read(template, settings))?.instruction).toBe("rank");
  const branches = `{%- if messages[0].role == "system" -%}{%- set i = messages[0].content -%}{%- else -%}{%- set i = "none given" -%}{%- endif -%}${PAIR}I: {{ i }} Q: {{ q }} D: {{ d }}</s>`;
  expect((await read(branches))?.instruction).toBe("none given");
});

it("tells that texts are stripped", async () => {
  const template = `${PAIR}<s>{{ q | trim }}|{{ d | trim }}</s>`;
  expect(await read(template)).toEqual({
    template: ["<s>", { slot: "query" }, "|", { slot: "document" }, "</s>"],
    instruction: null,
    stripsTexts: true,
  });
  await expect(read(`${PAIR}<s>{{ q | trim }}|{{ d }}</s>`)).rejects.toThrow("strips white space");
});

it("reads the template of tokenizer_config.json, by its name where there are several, and its special tokens", async () => {
  const template = `${PAIR}{{ bos_token }}{{ q }}|{{ d }}{{ eos_token }}`;
  const tokens = { bos_token: "<s>", eos_token: { content: "</s>" } };
  const parts = ["<s>", { slot: "query" }, "|", { slot: "document" }, "</s>"];
  expect((await read(undefined, { "tokenizer_config.json": { ...tokens, chat_template: template } }))?.template).toEqual(parts);
  const named = [
    { name: "tools", template: "x" },
    { name: "default", template },
  ];
  expect((await read(undefined, { "tokenizer_config.json": { ...tokens, chat_template: named } }))?.template).toEqual(parts);
});

it("obeys the options that sentence-transformers gives to the template", async () => {
  const template = `${PAIR}<s>{{ q }}|{{ d }}</s>{% if add_generation_prompt %}answer{% endif %}`;
  const options = { "sentence_bert_config.json": { processing_kwargs: { chat_template: { add_generation_prompt: true } } } };
  expect((await read(template, options))?.template.at(-1)).toBe("</s>answer");
});

it("takes no notice of templates that know no query and document", async () => {
  expect(await read(undefined)).toBeUndefined();
  expect(await read('{% for m in messages %}<|{{ m.role }}|>{{ m.content if m.role == "user" }}{% endfor %}')).toBeUndefined();
  expect(await read('{{ raise_exception("only user and assistant") }}')).toBeUndefined();
  expect(await read("{% for %}")).toBeUndefined();
});

it.each([
  ["the document before the query", `${PAIR}<s>{{ d }}|{{ q }}</s>`, "one query and, after it, one document"],
  ["a query twice", `${PAIR}<s>{{ q }}{{ q }}|{{ d }}</s>`, "one query and, after it, one document"],
  ["nothing behind the document", `${PAIR}<s>{{ q }}|{{ d }}`, "begins or ends with a text"],
  ["nothing before the query", `${PAIR}{{ q }}|{{ d }}</s>`, "begins or ends with a text"],
])("refuses %s", async (_, template, message) => {
  await expect(read(template)).rejects.toMatchObject({ code: "CONVERT_FAILED", message: expect.stringContaining(message) });
});
