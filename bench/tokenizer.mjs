// Invented tokenizers of the real kinds and sizes, for checkouts without a real one: words of syllables, so that text made
// of them splits into pieces as real text does. Ids, merges and scores mean nothing; sizes and algorithms do.

const CONSONANTS = [..."bcdfghjklmnpqrstvwxyz"];
const SYLLABLES = CONSONANTS.flatMap((consonant) => [..."aeiou"].map((vowel) => consonant + vowel));
const PLAIN = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i));
const BYTES = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
const SPACE = "▁";

/** Words that the prompts of the LLM rerankers are made of; each is one piece, as in the real vocabularies. */
const PROMPT_WORDS = `Yes No Given a query A and passage B determine whether the contains an answer to by providing prediction of either
  or Predict A: B: A, B, query. 'Yes' 'No'. 'No' 'Yes'`.split(/\s+/);

/** Words of two or three syllables. */
const twoSyllables = () => SYLLABLES.flatMap((first) => SYLLABLES.map((second) => first + second));
function* threeSyllables() {
  for (const first of SYLLABLES) for (const second of SYLLABLES) for (const third of SYLLABLES) yield first + second + third;
}

/** As XLM-RoBERTa's: Unigram, 250,002 pieces. */
export function unigramTokenizer(size) {
  const pieces = new Set([SPACE, ...PLAIN]);
  for (const words of [SYLLABLES, twoSyllables(), threeSyllables()]) {
    for (const word of words) {
      if (pieces.size >= size - 5) break;
      pieces.add(SPACE + word).add(word);
    }
  }
  const scored = [...pieces].slice(0, size - 5).map((piece, rank) => [piece, -2 - Math.log(rank + 2)]);
  const special = ["<s>", "<pad>", "</s>", "<unk>"].map((piece) => [piece, 0]);
  const vocabulary = [...special, ...scored, ["<mask>", 0]];
  return {
    version: "1.0",
    added_tokens: [...[0, 1, 2, 3].map((id) => addedToken(id, special[id][0])), addedToken(vocabulary.length - 1, "<mask>", true)],
    normalizer: { type: "Replace", pattern: { Regex: " {2,}" }, content: " " },
    pre_tokenizer: { type: "Metaspace", replacement: SPACE, add_prefix_space: true, prepend_scheme: "always" },
    post_processor: pairTemplate(),
    decoder: { type: "Metaspace", replacement: SPACE, add_prefix_space: true, prepend_scheme: "always" },
    model: { type: "Unigram", unk_id: 3, vocab: vocabulary },
  };
}

/** As Gemma's and MiniCPM's: BPE with byte fallback. `special` are the first ids; MiniCPM puts a space before all text. */
export function bpeTokenizer(size, special, { prependSpace }) {
  const pieces = new Set([...special, ...BYTES, SPACE, ...PLAIN]);
  const merges = [];
  const add = (left, right) => {
    if (pieces.has(left + right) || pieces.size >= size) return;
    pieces.add(left + right);
    merges.push([left, right]);
  };
  for (const word of PROMPT_WORDS) spell(add, word);
  for (const syllable of SYLLABLES) add(syllable[0], syllable[1]);
  // Words behind a space come before their parts: merges go by rank, so that such a word becomes one piece.
  for (const syllable of SYLLABLES) add(SPACE, syllable);
  const addBehindSpace = (word) => add(SPACE + word.slice(0, -2), word.slice(-2));
  const parts = twoSyllables();
  for (const word of parts) addBehindSpace(word);
  for (const word of threeSyllables()) {
    if (pieces.size >= size - parts.length) break;
    addBehindSpace(word);
  }
  for (const word of parts) add(word.slice(0, 2), word.slice(2));
  for (let i = 0; pieces.size < size; i++) pieces.add(`<unused${i}>`);
  const replace = { type: "Replace", pattern: { String: " " }, content: SPACE };
  return {
    version: "1.0",
    added_tokens: special.slice(0, 4).map((content, id) => addedToken(id, content)),
    normalizer: prependSpace ? { type: "Sequence", normalizers: [{ type: "Prepend", prepend: SPACE }, replace] } : replace,
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [{ type: "Replace", pattern: { String: SPACE }, content: " " }, { type: "ByteFallback" }, { type: "Fuse" }],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: "<unk>",
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries([...pieces].map((piece, id) => [piece, id])),
      merges,
    },
  };
}

/** A word letter by letter, alone and behind a space. */
function spell(add, word) {
  const letters = [...word];
  for (let i = 1; i < letters.length; i++) add(letters.slice(0, i).join(""), letters[i]);
  add(SPACE, word);
}

function addedToken(id, content, lstrip = false) {
  return { id, content, single_word: false, lstrip, rstrip: false, normalized: false, special: true };
}

function pairTemplate() {
  const special = (id) => ({ SpecialToken: { id, type_id: 0 } });
  const sequence = (id) => ({ Sequence: { id, type_id: 0 } });
  return {
    type: "TemplateProcessing",
    single: [special("<s>"), sequence("A"), special("</s>")],
    pair: [special("<s>"), sequence("A"), special("</s>"), special("</s>"), sequence("B"), special("</s>")],
    special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: ["<s>"] }, "</s>": { id: "</s>", ids: [2], tokens: ["</s>"] } },
  };
}

/** Words that are one piece each in a tokenizer.json of any kind, in the order of the vocabulary: common ones first. */
export function wordsOf(tokenizer) {
  const { vocab } = tokenizer.model;
  const pieces = Array.isArray(vocab) ? vocab.map(([piece]) => piece) : Object.keys(vocab);
  return pieces.filter((piece) => /^▁[a-z]{2,12}$/.test(piece)).map((piece) => piece.slice(1));
}
