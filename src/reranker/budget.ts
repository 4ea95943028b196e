// Hits scored best first until the time is up; models with cutoff layers read all of them shallowly first, then the best deeply.

/** What a budget is spent on. Hits are named by their place in the first stage. */
export interface BudgetWork<R> {
  /** How long the text of each hit is, in units of any kind. */
  readonly sizes: readonly number[];
  /** Ascending; one entry for models without cutoff layers. */
  readonly layers: readonly (number | undefined)[];
  readonly budgetMs: number;
  /** @param timeLeftMs - undefined: has to finish. @returns undefined when the time was up first. */
  readonly score: (hits: readonly number[], layer: number | undefined, timeLeftMs: number | undefined) => Promise<readonly R[] | undefined>;
  readonly logitOf: (result: R) => number;
  readonly now: () => number;
}

export interface BudgetOutcome<R> {
  /** Every hit that was read: those of the deepest layer first, then the others, each best first. */
  readonly ranked: readonly { readonly hit: number; readonly depth: number; readonly result: R }[];
  readonly elapsedMs: number;
}

const FIRST = 4; // hits: enough to learn how fast they are read, few enough for any budget
const LARGEST = 32;

/** Every layer has an equal share of the time, and what those before it left over. The first few hits are read whatever it takes. */
export async function spendBudget<R>(work: BudgetWork<R>): Promise<BudgetOutcome<R>> {
  const started = work.now();
  const read = new Map<number, { hit: number; depth: number; result: R }>();
  const ranked = () =>
    [...read.values()].sort((a, b) => b.depth - a.depth || work.logitOf(b.result) - work.logitOf(a.result) || a.hit - b.hit);
  for (const [depth, layer] of work.layers.entries()) {
    const order = depth === 0 ? work.sizes.map((_, hit) => hit) : ranked().map(({ hit }) => hit);
    const until = started + (work.budgetMs * (depth + 1)) / work.layers.length;
    const mustRead = depth === 0 || depth === work.layers.length - 1;
    await readInOrder(work, order, until, { layer, mustRead }, (hit, result) => read.set(hit, { hit, depth, result }));
  }
  return { ranked: ranked(), elapsedMs: work.now() - started };
}

interface Pass {
  readonly layer: number | undefined;
  /** The first group is waited for. */
  readonly mustRead: boolean;
}

async function readInOrder<R>(
  work: BudgetWork<R>,
  order: readonly number[],
  until: number,
  { layer, mustRead }: Pass,
  onRead: (hit: number, result: R) => void,
): Promise<void> {
  let msPerSize: number | undefined;
  for (let next = 0; next < order.length; ) {
    const left = until - work.now();
    const must = mustRead && next === 0;
    if (!must && left <= 0) return;
    const group = nextGroup(work.sizes, order.slice(next, next + LARGEST), msPerSize, left);
    if (group.length === 0) return;
    const began = work.now();
    const results = await work.score(group, layer, must ? undefined : left);
    if (!results) return;
    const size = group.reduce((sum, hit) => sum + sizeOf(work.sizes, hit), 0);
    const rate = (work.now() - began) / size;
    msPerSize = msPerSize === undefined ? rate : (msPerSize + rate) / 2;
    for (const [i, result] of results.entries()) onRead(group[i] as number, result);
    next += group.length;
  }
}

/** As many as half the time left takes, going by how fast those before were read: a group that is late is lost. At last all. */
function nextGroup(sizes: readonly number[], candidates: readonly number[], msPerSize: number | undefined, leftMs: number): number[] {
  if (msPerSize === undefined) return candidates.slice(0, FIRST);
  const fill = (limitMs: number) => {
    let ms = 0;
    const end = candidates.findIndex((hit) => {
      ms += sizeOf(sizes, hit) * msPerSize;
      return ms > limitMs;
    });
    return end < 0 ? [...candidates] : candidates.slice(0, end);
  };
  const half = fill(leftMs / 2);
  return half.length >= FIRST ? half : fill(leftMs);
}

function sizeOf(sizes: readonly number[], hit: number): number {
  return (sizes[hit] ?? 0) + 1; // empty texts are work too
}
