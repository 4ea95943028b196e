// Batches for engines that need equal lengths: sorted by length, padded to the longest of each batch.

const PAD_ID = 1; // of XLM-RoBERTa
const SIZES = [1, 2, 4, 8, 16];

/**
 * Wraps `runBatch(ids, mask, [rows, columns], types) -> logits` into an engine that finds its best batch size for each workload.
 */
export function paddedEngine(runBatch, padId = PAD_ID) {
  const chosen = new Map();
  const scoreWith = async (pairs, size) => {
    const order = pairs.map((_, i) => i).sort((a, b) => pairs[b].ids.length - pairs[a].ids.length);
    const logits = [];
    for (let at = 0; at < order.length; at += size) {
      const rows = order.slice(at, at + size);
      const batch = pad(
        rows.map((i) => pairs[i]),
        padId,
      );
      const scores = await runBatch(batch.ids, batch.mask, batch.shape, batch.types);
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

function pad(pairs, padId) {
  const columns = Math.max(...pairs.map(({ ids }) => ids.length));
  const ids = new BigInt64Array(pairs.length * columns).fill(BigInt(padId));
  const mask = new BigInt64Array(ids.length);
  const types = new BigInt64Array(ids.length);
  for (const [row, pair] of pairs.entries()) {
    for (const [column, id] of pair.ids.entries()) {
      ids[row * columns + column] = BigInt(id);
      mask[row * columns + column] = 1n;
      types[row * columns + column] = BigInt(pair.types?.[column] ?? 0);
    }
  }
  return { ids, mask, types, shape: [pairs.length, columns] };
}
