// Every field of a rerank or score body that some client sends, with what it means here.
import { any, flag, ignored, integer, number, text, word, words } from "./fields.js";

/** Texts: which of these a body has decides its dialect. */
const TEXT = {
  query: any({
    description: "Search query.",
    oneOf: [{ type: "string" }, { type: "object", required: ["text"], properties: { text: { type: "string" } } }],
  }),
  documents: any({ $ref: "#/components/schemas/Documents" }),
  texts: any({ type: "array", items: { type: "string" }, description: "Documents, in the dialect of text-embeddings-inference." }),
  input: any({ $ref: "#/components/schemas/Documents" }),
  inputs: any({ description: "A pair, or an array of pairs, of query and document.", type: "array" }),
  text_1: any({ $ref: "#/components/schemas/OneOrMany" }),
  text_2: any({ $ref: "#/components/schemas/OneOrMany" }),
  data_1: any({ $ref: "#/components/schemas/OneOrMany" }),
  data_2: any({ $ref: "#/components/schemas/OneOrMany" }),
  queries: any({ $ref: "#/components/schemas/OneOrMany" }),
  items: any({ $ref: "#/components/schemas/OneOrMany" }),
} as const;

/** What the APIs of the field have in common. */
const COMMON = {
  model: any({ type: "string", description: "Name of a served model. With one model any name serves, but with --strict-model." }),
  top_n: integer("Most results, the best first. 0, or more than there are documents: all.", 0),
  top_k: integer("As `top_n` (Voyage, Mixedbread).", 0),
  rank_fields: words("Fields of documents that are objects, read in this order; `text` by default."),
  return_documents: flag("Give each result its `document`, as `{text}`."),
  return_text: flag("Give each result its `text` (text-embeddings-inference)."),
  return_input: flag("Give each result its `input` (Mixedbread)."),
  return_details: flag("Give each result its `logit`, `tokens` and `truncated`, and `meta.warnings`."),
  raw_scores: flag("Scores are logits instead of 0 to 1."),
  normalize: flag("Scores are 0 to 1, the sigmoid of the logits."),
  use_activation: flag("As `normalize` (vLLM)."),
  truncate: any({ description: 'false or "NONE": refuse texts that are too long instead of cutting them.', type: ["boolean", "string"] }),
  truncation: any({
    description: "As `truncate` (Voyage); or the rule that cuts a pair, only_second or longest_first, as in the library.",
    type: ["boolean", "string"],
  }),
  truncation_direction: word("The end that a text which is too long loses.", ["left", "right"]),
  truncation_side: word("As `truncation_direction` (vLLM).", ["left", "right"]),
  truncate_prompt_tokens: integer("Most tokens of a pair; -1: as many as the model takes (vLLM).", -1),
  max_tokens_per_doc: integer("Most tokens of a document. 0: no limit but the model's.", 0),
  max_tokens_per_query: integer("Most tokens of the query. 0: no limit but the model's.", 0),
  max_chunks_per_doc: integer("Above 1: a document that is too long is scored in so many windows at most, and the best counts.", 0),
  instruct: text("As `instruction`."),
  priority: ignored("Accepted; calls share the model fairly."),
  user: ignored("Accepted."),
} as const;

/** The library's options of a call, by their names there in snake_case. */
const OURS = {
  max_length: integer("Most tokens of a pair.", 1),
  query_max_length: integer("Most tokens of the query.", 0),
  prompt: text("Question put after the document (LLM rerankers)."),
  instruction: text("Task put before the query, for model families that take one."),
  query_instruction: text("Prefix of the query, instead of the model's own."),
  passage_instruction: text("Prefix of every document, instead of the model's own."),
  parse_special_tokens: flag("false: special tokens spelled out in a text are read as plain text."),
  batch_size: integer("Most pairs computed at once.", 1),
  max_batch_tokens: integer("Most tokens computed at once.", 1),
  cutoff_layers: any({ description: "Layer to read the score after (layerwise and lightweight models).", type: ["integer", "array"] }),
  compress_layers: any({ description: "Layers before which document tokens are merged (lightweight models).", type: ["integer", "array"] }),
  compress_layer: any({ description: "Old name of `compress_layers`.", type: ["integer", "array"] }),
  compress_ratio: integer("Document tokens merged into one (lightweight models).", 1),
  head_selection: word("Head of a cutoff layer (lightweight models).", ["rank", "layer"]),
  attention_softcap: flag("Cap attention scores as Gemma 2 was trained (lightweight models)."),
  overflow: word("What happens to a text that is too long.", ["truncate", "chunk", "error"]),
  max_chunks: integer("Most windows of a document with `overflow: chunk`.", 1),
  chunk_overlap: any({ type: "number", description: "Part of a window that the next one repeats." }),
  cascade: any({
    type: "array",
    description: "Early exits: `[{layer, keep}]` (layerwise and lightweight models).",
    items: { type: "object", properties: { layer: { type: "integer" }, keep: { type: "integer" } }, required: ["layer", "keep"] },
  }),
  min_score: number("Leave out results with a lower score."),
} as const;

export const BODY_FIELDS = { ...TEXT, ...COMMON, ...OURS } as const;

/** Fields that are passed on to the library as they stand. */
export const LIBRARY_FIELDS: ReadonlySet<string> = new Set(
  Object.keys(OURS).filter((name) => !name.endsWith("_instruction") && name !== "min_score"),
);
