// The shapes measured, and what each engine is fed for them.
import { bpeTokenizer, unigramTokenizer } from "./tokenizer.mjs";

const xlmr = { family: "encoder", vocabulary: "unigram-250002", tokenizer: () => unigramTokenizer(250_002) };

function gemmaTokenizer() {
  return bpeTokenizer(256_000, ["<pad>", "<eos>", "<bos>", "<unk>"], { prependSpace: false });
}

// `linear` counts the weights of one layer's matrices: what a token costs. `exits`: a score can be read early; `scoreHeads`:
// the file has heads that llama.cpp does not know.
export const SHAPES = {
  // A tiny checkpoint of the tests whose norms and biases are uneven, as those of trained models are: that is where coarse
  // quantisation shows, and even random weights hide it. Too small to time.
  golden: {
    family: "encoder",
    folder: "test/golden/xlmr-reranker",
    layers: 3,
    hidden: 96,
    ffn: 256,
    heads: 6,
    qualityOnly: true,
    title: "golden: 3 x 96, uneven norms and biases, quality only",
  },
  base: { ...xlmr, checkpoint: "bge-reranker-base", layers: 12, hidden: 768, ffn: 3072, title: "base: 12 x 768" },
  large: { ...xlmr, checkpoint: "bge-reranker-v2-m3", layers: 24, hidden: 1024, ffn: 4096, title: "large, v2-m3: 24 x 1024" },
  gemma: {
    family: "decoder",
    checkpoint: "bge-reranker-v2-gemma",
    layers: 18,
    hidden: 2048,
    ffn: 16384,
    heads: 8,
    kvHeads: 1,
    headSize: 256,
    title: "gemma-2b: 18 x 2048",
    vocabulary: "bpe-256000",
    tokenizer: gemmaTokenizer,
  },
  minicpm: {
    family: "decoder",
    checkpoint: "bge-reranker-v2-minicpm-layerwise",
    layers: 40,
    hidden: 2304,
    ffn: 5760,
    heads: 36,
    kvHeads: 36,
    headSize: 64,
    exits: true,
    scoreHeads: true,
    title: "minicpm: 40 x 2304",
    vocabulary: "bpe-122753",
    tokenizer: () => bpeTokenizer(122_753, ["<unk>", "<s>", "</s>"], { prependSpace: true }),
  },
  gemma2: {
    family: "decoder",
    checkpoint: "bge-reranker-v2.5-gemma2-lightweight",
    layers: 42,
    hidden: 3584,
    ffn: 14336,
    heads: 16,
    kvHeads: 8,
    headSize: 256,
    scoreHeads: true,
    title: "gemma2-9b: 42 x 3584",
    vocabulary: "bpe-256000",
    tokenizer: gemmaTokenizer,
  },
};

/**
 * Operations that scores of pairs of these lengths ask for, two a multiply-add.
 *
 * `nominal` counts every layer in full. `needed` leaves out what no score depends on: an encoder's last layer is read at one
 * token only, and a decoder's likewise, so there queries, output and feed-forward of the other tokens are not needed.
 */
export function operationsOf(shape, layers, lengths) {
  const { hidden, ffn, heads = 1, kvHeads = heads, headSize = hidden / heads } = shape;
  const queryAndOutput = 2 * hidden * heads * headSize;
  const keysAndValues = 2 * hidden * kvHeads * headSize;
  const feedForward = (shape.family === "decoder" ? 3 : 2) * hidden * ffn;
  let nominal = 0;
  let needed = 0;
  for (const n of lengths) {
    const attention = (shape.family === "decoder" ? 2 : 4) * n * n * heads * headSize;
    const layer = 2 * n * (queryAndOutput + keysAndValues + feedForward) + attention;
    const lastLayer = 2 * n * keysAndValues + 2 * (queryAndOutput + feedForward) + 4 * n * heads * headSize;
    nominal += layers * layer;
    needed += (layers - 1) * layer + lastLayer;
  }
  return { nominal, needed };
}
