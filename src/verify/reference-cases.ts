// Scores that the authors of the models published, and the token ids of their texts: what `bge-reranker verify` compares with.
// Sources: FlagEmbedding's README files, tutorials 5.1 and 5.2, examples/inference/reranker; llama.cpp pull request 9510.

export interface ReferenceCase {
  readonly id: string;
  readonly pairs: readonly (readonly [query: string, document: string])[];
  readonly options: {
    readonly cutoffLayers?: number;
    readonly compressRatio?: number;
    readonly compressLayers?: readonly number[];
  };
  readonly scores: readonly number[];
  /** Computed in float32: a file of F32 weights comes closer than the gate. */
  readonly float32?: true;
}

/** Ids of the texts of a model family, each as it stands in its place, instruction included. */
export interface ReferenceTokens {
  readonly before: readonly number[];
  readonly between: readonly number[];
  readonly after: readonly number[];
  readonly texts: Readonly<Record<string, readonly number[]>>;
}

export interface ReferenceModel {
  /** The published scores are of float16 on a GPU; the authors' own runs differ by about half of this. */
  readonly gate: number;
  readonly cases: readonly ReferenceCase[];
  /** Tokenizers the repository may ship; one must fit. */
  readonly tokens: readonly ReferenceTokens[];
}

/** Largest difference of F32 weights from a float32 run of the reference. */
export const FLOAT32_GATE = 2e-4;

const text = {
  query: "query",
  passage: "passage",
  panda: "what is panda?",
  hi: "hi",
  capital: "What is the capital of France?",
  paris: "Paris is the capital of France.",
  population: "What is the population of China?",
  billions: "The population of China is over 1.4 billion people.",
  apple: "A red apple",
  llama: "A llama in the garden",
  fruit: "I want some fruit",
  giantPanda:
    "The giant panda (Ailuropoda melanoleuca), sometimes called a panda bear or simply panda, is a bear species endemic to China.",
  sunny: "Today is a sunny day",
  tiger: "The tiger (Panthera tigris) is a member of the genus Panthera and the largest living cat species native to Asia.",
} as const;

const twoWords = [[text.query, text.passage]] as const;
const pandas = [[text.panda, text.hi], [text.panda, text.giantPanda]] as const; // biome-ignore format: one table
const four = [
  [text.capital, text.paris],
  [text.capital, text.billions],
  [text.population, text.paris],
  [text.population, text.billions],
] as const;

// biome-ignore format: one table
const XLM_ROBERTA_TEXTS: ReferenceTokens["texts"] = {
  [text.query]: [41, 1294],
  [text.passage]: [46692],
  [text.panda]: [2367, 83, 6, 85407, 32],
  [text.hi]: [1274],
  [text.capital]: [4865, 83, 70, 10323, 111, 9942, 32],
  [text.paris]: [7270, 83, 70, 10323, 111, 9942, 5],
  [text.population]: [4865, 83, 70, 43904, 111, 9098, 32],
  [text.billions]: [581, 43904, 111, 9098, 83, 645, 48733, 96090, 3395, 5],
  [text.apple]: [62, 4842, 108787],
  [text.llama]: [62, 67140, 23, 70, 80583],
  [text.fruit]: [87, 3444, 3060, 41896],
  [text.giantPanda]: [581, 6051, 18, 6, 85407, 15, 284, 12175, 28437, 19165, 54159, 16836, 29808, 247, 68018, 35839, 10, 6, 85407, 81148, 707, 42856, 6, 85407, 4, 83, 10, 81148, 114149, 28117, 21068, 47, 9098, 5],
};

// biome-ignore format: one table
const GEMMA_TEXTS: ReferenceTokens["texts"] = {
  [text.query]: [235280, 235292, 8164],
  [text.passage]: [235305, 235292, 14732],
  [text.panda]: [235280, 235292, 1212, 603, 44723, 235336],
  [text.hi]: [235305, 235292, 5827],
  [text.capital]: [235280, 235292, 2439, 603, 573, 6037, 576, 6081, 235336],
  [text.paris]: [235305, 235292, 7127, 603, 573, 6037, 576, 6081, 235265],
  [text.population]: [235280, 235292, 2439, 603, 573, 6280, 576, 5892, 235336],
  [text.billions]: [235305, 235292, 714, 6280, 576, 5892, 603, 1163, 235248, 235274, 235265, 235310, 10409, 1461, 235265],
  [text.apple]: [235280, 235292, 586, 3118, 15491],
  [text.llama]: [235305, 235292, 586, 19001, 575, 573, 8717],
  [text.fruit]: [235305, 235292, 590, 1938, 1009, 9471],
  [text.giantPanda]: [235305, 235292, 714, 17835, 44723, 591, 235280, 540, 2178, 96799, 24772, 1659, 41572, 823, 6947, 3151, 476, 44723, 8718, 689, 6574, 44723, 235269, 603, 476, 8718, 6202, 96246, 577, 5892, 235265],
};

// biome-ignore format: one table
const MINICPM_TEXTS: ReferenceTokens["texts"] = {
  [text.query]: [1420, 95358, 8060],
  [text.passage]: [1469, 95358, 27013],
  [text.panda]: [1420, 95358, 2024, 1410, 1369, 10524, 74],
  [text.hi]: [1469, 95358, 26748],
  [text.capital]: [1420, 95358, 3067, 1410, 1358, 8107, 1379, 8360, 74],
  [text.paris]: [1469, 95358, 11225, 1410, 1358, 8107, 1379, 8360, 72],
  [text.population]: [1420, 95358, 3067, 1410, 1358, 4471, 1379, 6213, 74],
  [text.billions]: [1469, 95358, 1507, 4471, 1379, 6213, 1410, 1865, 95320, 95345, 72, 95320, 95370, 9727, 2104, 72],
  [text.apple]: [1420, 95358, 1420, 4427, 26530],
  [text.llama]: [1469, 95358, 1420, 28284, 4251, 1377, 1358, 11633],
  [text.fruit]: [1469, 95358, 1417, 2235, 1895, 13006],
  [text.giantPanda]: [1469, 95358, 1507, 17925, 1369, 10524, 1426, 95353, 1394, 2776, 95336, 16791, 19950, 2325, 45882, 1743, 7976, 3638, 1348, 1369, 10524, 16580, 1508, 5809, 1369, 10524, 95342, 1410, 1348, 16580, 4691, 29480, 1385, 6213, 72],
};

const XLM_ROBERTA: ReferenceTokens = { before: [0], between: [2, 2], after: [2], texts: XLM_ROBERTA_TEXTS };

// biome-ignore format: one table
const YES_NO_GEMMA = [24985, 476, 8164, 586, 578, 476, 14732, 599, 235269, 8363, 4270, 573, 14732, 7744, 671, 3448, 577, 573, 8164, 731, 9151, 476, 25166, 576, 3906, 777, 3553, 235303, 689, 777, 1294, 6036];
// biome-ignore format: one table
const ANSWER_GEMMA = [97113, 4270, 14732, 599, 7744, 671, 3448, 577, 8164, 586, 235265];
// biome-ignore format: one table
const YES_NO_MINICPM = [16316, 1348, 8060, 1420, 1384, 1348, 27013, 1469, 95342, 4522, 3965, 1358, 27013, 5772, 1458, 3978, 1385, 1358, 8060, 1520, 6290, 1348, 14917, 1379, 3569, 1772, 24346, 95361, 1508, 1772, 6460, 95361, 72];

const gemmaTokens = (prompt: readonly number[]): ReferenceTokens => ({
  before: [2],
  between: [108],
  after: [108, ...prompt],
  texts: GEMMA_TEXTS,
});

// Whether the newline is a token of its own depends on the tokenizer.json that the repository ships; the "1.4" too.
const minicpmTokens: readonly ReferenceTokens[] = [
  { before: [1], between: [5], after: [5, ...YES_NO_MINICPM], texts: MINICPM_TEXTS },
  {
    before: [1],
    between: [95320, 5],
    after: [95320, 5, ...YES_NO_MINICPM],
    // biome-ignore format: one table
    texts: { ...MINICPM_TEXTS, [text.billions]: [1469, 95358, 1507, 4471, 1379, 6213, 1410, 1865, 95320, 95345, 72, 95370, 9727, 2104, 72] },
  },
];

const berlin = "How many people live in Berlin?";
const inhabitants = (verb: string) =>
  `Berlin ${verb} a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.`;
const quickSort = "how to implement quick sort in python?";
const miniLm6: ReferenceModel = {
  gate: 2e-3, // float32; printed to six digits
  cases: [
    {
      id: "Berlin",
      pairs: [
        [berlin, inhabitants("had")],
        [berlin, "Berlin is well known for its museums."],
      ],
      options: {},
      scores: [8.607138, -4.320078],
      float32: true,
    },
  ],
  tokens: [],
};
const miniLm12: ReferenceModel = {
  gate: 2e-3,
  cases: [
    {
      id: "Berlin, New York",
      pairs: [
        [berlin, inhabitants("has")],
        [berlin, "New York City is famous for the Metropolitan Museum of Art."],
      ],
      options: {},
      scores: [9.450557708740234, -11.160483360290527],
      float32: true,
    },
  ],
  tokens: [],
};

const lightweight = { cutoffLayers: 28, compressRatio: 2, compressLayers: [24, 40] };

/** By the name that the file says. */
export const referenceModels: Readonly<Record<string, ReferenceModel>> = {
  "bge-reranker-base": { gate: 0.02, cases: [], tokens: [XLM_ROBERTA] }, // no scores were published
  "bge-reranker-large": {
    gate: 0.02,
    cases: [
      { id: "query, passage", pairs: twoWords, options: {}, scores: [-1.5263671875] },
      { id: "panda", pairs: pandas, options: {}, scores: [-5.60546875, 5.76171875] },
      { id: "capital, population", pairs: four, options: {}, scores: [7.9765625, -6.84375, -7.15625, 5.453125] },
      {
        id: "panda, float32",
        pairs: [
          [text.panda, text.sunny],
          [text.panda, text.tiger],
          [text.panda, text.giantPanda],
        ],
        options: {},
        scores: [-9.474676132202148, -2.823843240737915, 5.76226806640625],
        float32: true,
      },
    ],
    tokens: [XLM_ROBERTA],
  },
  "bge-reranker-v2-m3": {
    gate: 0.02,
    cases: [
      { id: "query, passage", pairs: twoWords, options: {}, scores: [-5.65234375] },
      { id: "panda", pairs: pandas, options: {}, scores: [-8.1875, 5.26171875] },
      {
        id: "apple",
        pairs: [
          [text.apple, text.llama],
          [text.apple, text.fruit],
        ],
        options: {},
        scores: [-8.7265625, -0.10467529296875],
      },
    ],
    tokens: [XLM_ROBERTA],
  },
  // Older numbers of the two below are of bfloat16 and of an old release, and differ from these by up to 0.18.
  "bge-reranker-v2-gemma": {
    gate: 0.05,
    cases: [
      { id: "query, passage", pairs: twoWords, options: {}, scores: [1.974609375] },
      { id: "capital, population", pairs: four, options: {}, scores: [9.171875, -4.49609375, -5.5234375, 10.2109375] },
    ],
    tokens: [gemmaTokens(YES_NO_GEMMA)],
  },
  "bge-reranker-v2-minicpm-layerwise": {
    gate: 0.05,
    cases: [
      { id: "query, passage", pairs: twoWords, options: { cutoffLayers: 28 }, scores: [-7.06640625] },
      {
        id: "capital, population",
        pairs: four,
        options: { cutoffLayers: 28 },
        scores: [1.939453125, -12.71875, -11.78125, 2.189453125],
      },
    ],
    tokens: minicpmTokens,
  },
  "bge-reranker-v2.5-gemma2-lightweight": {
    gate: 0.1,
    cases: [
      { id: "query, passage", pairs: twoWords, options: lightweight, scores: [14.734375] },
      { id: "capital, population", pairs: four, options: lightweight, scores: [25.375, 8.734375, 9.8359375, 26.15625] },
    ],
    tokens: [gemmaTokens(ANSWER_GEMMA)],
  },
  // The cards of cross-encoder, of its copy by Xenova, and of Alibaba-NLP.
  "ms-marco-MiniLM-L6-v2": miniLm6,
  "ms-marco-MiniLM-L-6-v2": miniLm6,
  "ms-marco-MiniLM-L12-v2": miniLm12,
  "ms-marco-MiniLM-L-12-v2": miniLm12,
  "gte-reranker-modernbert-base": {
    gate: 0.02,
    cases: [
      {
        id: "capital, quick sort",
        pairs: [
          ["what is the capital of China?", "Beijing"],
          [quickSort, "Introduction of quick sort"],
          [quickSort, "The weather is nice today"],
        ],
        options: {},
        scores: [2.1387, 2.4609, -1.6729],
      },
    ],
    tokens: [],
  },
  "gte-multilingual-reranker-base": {
    gate: 0.02,
    cases: [
      {
        id: "capital, quick sort",
        pairs: [
          ["中国的首都在哪儿", "北京"],
          ["what is the capital of China?", "北京"],
          [quickSort, "Introduction of quick sort"],
        ],
        options: {},
        scores: [1.2315, 0.5923, 0.3041],
      },
    ],
    tokens: [],
  },
};
