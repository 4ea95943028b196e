// The ONNX graph of an XLM-RoBERTa reranker, operator by operator as the usual export writes it: padded batches, an
// attention mask, position ids counted from the padding id. onnxruntime then fuses what it can.
import { attentionBias, layer, layerNorm } from "./layers.mjs";
import { OnnxModel } from "./model.mjs";
import { Checkpoint } from "./safetensors.mjs";
import { weightsOf } from "./weights.mjs";

const OPSET = 17; // the first with LayerNormalization

/**
 * @param checkpointFolder - The checkpoint that the GGUF files are made from.
 * @param options.int8 - true: weights and activations in 8 bits as onnxruntime's quantize_dynamic makes them.
 */
export function writeXlmRoberta(checkpointFolder, path, { int8 }) {
  const checkpoint = new Checkpoint(checkpointFolder);
  const model = new OnnxModel(path, { externalData: !int8 });
  const weights = weightsOf(int8 ? "int8" : "f32", model, checkpoint);
  const { num_hidden_layers: layers, num_attention_heads: heads } = checkpoint.config;

  const ids = model.input("input_ids", "int64", ["batch", "tokens"]);
  const mask = model.input("attention_mask", "int64", ["batch", "tokens"]);
  const bias = attentionBias(model, mask);
  let x = embed(model, weights, checkpoint.config, ids);
  for (let i = 0; i < layers; i++) x = layer(model, weights, `roberta.encoder.layer.${i}`, heads, checkpoint.config.hidden_size, x, bias);
  const first = model.node("Gather", [x, model.constant("int64", [], BigInt64Array.of(0n))], { axis: 1 });
  const dense = model.node("Tanh", [weights.linear("classifier.dense", first)]);
  model.rename(weights.linear("classifier.out_proj", dense), "logits");
  model.output("logits", "float", ["batch", 1]);
  model.write(OPSET);
  checkpoint.close();
}

function embed(model, weights, config, ids) {
  const pad = model.constant("int64", [], BigInt64Array.of(BigInt(config.pad_token_id)));
  const real = model.node("Cast", [model.node("Not", [model.node("Equal", [ids, pad])])], { to: 7 });
  const counted = model.node("CumSum", [real, model.constant("int64", [], BigInt64Array.of(1n))]);
  const positions = model.node("Add", [model.node("Mul", [counted, real]), pad]);
  const words = weights.rows("roberta.embeddings.word_embeddings.weight", ids);
  const typed = model.node("Add", [words, weights.float("roberta.embeddings.token_type_embeddings.weight")]);
  const placed = model.node("Add", [typed, weights.rows("roberta.embeddings.position_embeddings.weight", positions)]);
  return layerNorm(model, weights, "roberta.embeddings.LayerNorm", placed);
}
