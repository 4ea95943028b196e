// Batches for engines that need equal lengths: sorted by length, padded to the longest of each batch.

const PAD_ID = 1n; // of XLM-RoBERTa
const SIZES = [1, 2, 4, 8, 16];

/**
 * Wraps `runBatch(ids, mask, [rows, columns]) -> logits` into an engine that finds its best batch size for each workload.
 */
export function paddedEngine(runBatch) {
  const chosen = new Map();
  const scoreWith = async (pairs, size) => {
    const order = pairs.map((_, i) => i).sort((a, b) => pairs[b].ids.length - pairs[a].ids.length);
    const logits = [];
    for (let at = 0; at < order.length; at += size) {
      const rows = order.slice(at, at + size);
      const batch = pad(rows.map((i) => pairs[i].ids));
      const scores = await runBatch(batch.ids, batch.mask, batch.shape);
      for (const [row, i] of rows.entries()) logits[i] = scores[row];
    }
    return logits;
  };
  return {
    score: (pairs, { name }) => scoreWith(pairs, chosen.get(name) ?? 1),
    tune: async (pairs, { name, calls }) => {
      const most = Math.min(pairs.length, Math.max(...calls.map((call) => call.length)));
      const times = [];
      for (const size of SIZES.filter((s) => s <= most)) {
        const start = performance.now();
        await scoreWith(pairs, size);
        times.push([performance.now() - start, size]);
      }
      const [, size] = times.sort(([a], [b]) => a - b)[0];
      chosen.set(name, size);
      return { batchSize: size };
    },
  };
}

function pad(sequences) {
  const columns = Math.max(...sequences.map((ids) => ids.length));
  const ids = new BigInt64Array(sequences.length * columns).fill(PAD_ID);
  const mask = new BigInt64Array(ids.length);
  for (const [row, sequence] of sequences.entries()) {
    for (const [column, id] of sequence.entries()) {
      ids[row * columns + column] = BigInt(id);
      mask[row * columns + column] = 1n;
    }
  }
  return { ids, mask, shape: [sequences.length, columns] };
}
