// What is scored: pairs of invented text, and how a caller hands them over.
import { logNormal, randomNumbers } from "./random.mjs";

/**
 * Makes the workloads of a shape. Every engine gets the same pairs with the same token ids.
 *
 * @param encode - (query, passage, maxLength) -> token ids of the pair, specials included.
 * @param counts - How many passages, long pairs and so on: see WORKLOADS in plan.mjs.
 * @returns Workloads as { name, title, pairs, calls, concurrent, repeat }; `calls` lists the pairs of each caller.
 */
export function makeWorkloads(words, encode, counts) {
  const write = writer(words, randomNumbers(7));
  const pair = (query, passage) => {
    const ids = encode(query, passage, 512);
    return { query, passage, ids };
  };
  const list = [];
  const add = (name, title, pairs, extra) => {
    if (pairs.length === 0) return;
    const calls = [pairs.map((_, i) => i)];
    list.push({ name, title, pairs, calls, concurrent: false, ...extra });
  };

  const query = write.words(9);
  const passages = Array.from({ length: counts.passages }, () => pair(query, write.words(write.length())));
  add("passages", `one query x ${counts.passages} passages`, passages);
  const long = Array.from({ length: counts.long }, () => ofLength(pair, write, 9, 512));
  add("long", `${counts.long} pairs of 512 tokens`, long);
  add("single", "one pair of 64 tokens", counts.single ? [ofLength(pair, write, 9, 64)] : []);
  const callers = Array.from({ length: counts.callers }, () => write.words(9));
  const called = callers.flatMap((text) => Array.from({ length: counts.passagesPerCaller }, () => pair(text, write.words(write.length()))));
  add("callers", `${counts.callers} callers at once, ${counts.passagesPerCaller} passages each`, called, {
    calls: callers.map((_, c) => Array.from({ length: counts.passagesPerCaller }, (_, i) => c * counts.passagesPerCaller + i)),
    concurrent: true,
  });
  const searched = write.words(4);
  const length = pair(searched, "").ids.length + 40;
  const found = Array.from({ length: counts.search }, () => grow(pair, write, searched, length));
  add("search", `${counts.search} documents of 40 tokens`, found);
  return list;
}

/** Pairs for one question of decoders: what it saves that documents share their query. */
export function makePrefixWorkloads(words, encode, { documents, queryLengths }) {
  const write = writer(words, randomNumbers(11));
  return queryLengths.flatMap((length) => {
    const passages = Array.from({ length: documents }, () => write.words(60));
    const queries = Array.from({ length: documents }, () => write.words(length));
    const workload = (kind, queryOf) => {
      const pairs = passages.map((passage, i) => ({ query: queryOf(i), passage, ids: encode(queryOf(i), passage, 512) }));
      return {
        name: `prefix-${length}-${kind}`,
        title: `${documents} documents, query of ${length} words`,
        pairs,
        calls: [pairs.map((_, i) => i)],
        concurrent: false,
      };
    };
    return [workload("same", () => queries[0]), workload("distinct", (i) => queries[i])];
  });
}

function writer(words, random) {
  // Zipf: word number k is drawn with a probability near 1 / k.
  const word = () => words[Math.min(words.length - 1, Math.floor(Math.exp(random() * Math.log(words.length))))];
  // One word in six is a compound that the tokenizer has to split.
  const compound = () => (random() < 1 / 6 ? word() + word() : word());
  return {
    words: (count) => Array.from({ length: count }, compound).join(" "),
    word,
    /** Words of a passage: log-normal, about 150 tokens on average with the query. */
    length: () => Math.round(Math.min(360, Math.max(12, logNormal(random, 105, 0.6)))),
  };
}

/** A pair of exactly so many tokens: a query of so many words, or fewer where those are too many, and a passage that is grown. */
function ofLength(pair, write, words, target) {
  let query = write.words(words);
  while (words > 1 && pair(query, "").ids.length >= target) query = write.words(--words); // a decoder's prompt is long
  return grow(pair, write, query, target);
}

/** A pair of exactly so many tokens, with a passage that is grown. */
function grow(pair, write, query, target) {
  const texts = [];
  for (let tries = 0; tries < 10_000; tries++) {
    const made = pair(query, texts.join(" "));
    if (made.ids.length === target) return made;
    if (made.ids.length > target) texts.pop();
    else for (let missing = Math.max(1, Math.floor((target - made.ids.length) / 2)); missing > 0; missing--) texts.push(write.word());
  }
  throw new Error(`No text of ${target} tokens was found with this tokenizer`);
}
