// Checkpoints of any size, with the tokenizer and the settings of a golden one.
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { copyGolden, editTensors, floatTensor } from "../unit/convert-fixtures.js";

export interface Shape {
  /** The checkpoint that it is made of. */
  readonly golden: string;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads?: number;
  readonly headDim?: number;
  readonly ff: number;
}

/** A golden checkpoint with other sizes and weights of noise. */
export async function reshaped(shape: Shape): Promise<string> {
  const folder = await copyGolden(shape.golden);
  const file = path.join(folder, "config.json");
  const config = JSON.parse(await readFile(file, "utf8"));
  const head = config.head_dim ?? config.hidden_size / config.num_attention_heads;
  const newHead = shape.headDim ?? shape.hidden / shape.heads;
  const sizes = new Map<number, number>([
    [config.num_attention_heads * head, shape.heads * newHead],
    [(config.num_key_value_heads ?? config.num_attention_heads) * head, (shape.kvHeads ?? shape.heads) * newHead],
    [config.hidden_size, shape.hidden],
    [config.intermediate_size, shape.ff],
  ]);
  await editTensors(folder, (tensors) => {
    let seed = 1;
    for (const [name, tensor] of Object.entries(tensors)) {
      const dims = tensor.shape.map((n) => sizes.get(n) ?? n);
      const spread = /norm/i.test(name) ? 0.1 : dims.length > 1 ? 1.5 * (dims.at(-1) as number) ** -0.5 : 0.1;
      const centre = /norm/i.test(name) && !/gemma/.test(shape.golden) && !/bias/.test(name) ? 1 : 0;
      seed += 7919;
      tensors[name] = floatTensor(dims, (i) => centre + spread * Math.sin((i + 1) * (seed % 1009) + i * i * 0.37));
    }
  });
  const changed = {
    hidden_size: shape.hidden,
    num_attention_heads: shape.heads,
    intermediate_size: shape.ff,
    ...(config.num_key_value_heads && { num_key_value_heads: shape.kvHeads }),
    ...(config.head_dim && { head_dim: newHead }),
  };
  await writeFile(file, JSON.stringify({ ...config, ...changed }));
  return folder;
}
