// GGUFs of language models that llama.cpp's converter made into rerankers: used when all that a score takes is in the file.
// Source: llama.cpp convert_hf_to_gguf.py, Qwen3Model; src/models/qwen3.cpp.
import type { GgufHeader } from "../addon/native.js";
import { shown } from "../errors.js";
import type { ModelProfile, RerankerForm } from "../models/index.js";

const KNOWN_TENSOR =
  /^(token_embd|output_norm|output|cls\.output)\.weight$|^blk\.\d+\.(attn_(norm|q|k|v|output|q_norm|k_norm)|ffn_(norm|gate|up|down))\.weight$/;

/** @returns The form, why the file cannot be scored, or undefined for architectures that llama.cpp makes no rerankers of. */
export function foreignForm({ metadata, tensors }: GgufHeader, { architecture, forms }: ModelProfile): RerankerForm | string | undefined {
  if (architecture !== "qwen3") return undefined;
  const of = (key: string): unknown => (Object.hasOwn(metadata, key) ? metadata[key]?.value : undefined);
  const again = "; convert the checkpoint with `bge-reranker convert`";
  const head = tensors.find(({ name }) => name === "cls.output.weight");
  if (!head)
    return `it has no score head (tensor \`cls.output.weight\`): a language model, or a conversion that did not know it for a reranker${again}`;
  const labels = of("qwen3.classifier.output_labels");
  if (!Array.isArray(labels) || labels.join() !== "yes,no" || head.shape[1] !== 2)
    return `its score head has ${head.shape[1] ?? 1} outputs called ${shown(labels ?? null)} (\`qwen3.classifier.output_labels\`); known are "yes" and "no"${again}`;
  const scaling = of("qwen3.rope.scaling.type");
  if (scaling !== undefined && scaling !== "none")
    return `its rotary positions are scaled (\`qwen3.rope.scaling.type\` is ${shown(scaling)}), which is not supported`;
  const unknown = tensors.find(({ name }) => !KNOWN_TENSOR.test(name));
  if (unknown) return `its tensor \`${unknown.name}\` is not known, and leaving it out would change scores${again}`;
  const form = forms?.find((each) => each.form === "qwen3-reranker");
  return form && withTemplate(form, of("tokenizer.chat_template.rerank"));
}

/** The file's template, which has the default instruction in it; only the official one is known to be meant as it is. */
function withTemplate(form: RerankerForm, given: unknown): RerankerForm | string {
  if (given === undefined || form.layout.kind !== "chat") return form;
  const texts = { instruction: form.defaults.instruction ?? "", query: "{query}", document: "{document}" };
  const official = form.layout.template.map((part) => (typeof part === "string" ? part : texts[part.slot])).join("");
  if (given === official) return form;
  return `its \`tokenizer.chat_template.rerank\` is not the template of Qwen3-Reranker; convert the checkpoint with \`bge-reranker convert\``;
}
