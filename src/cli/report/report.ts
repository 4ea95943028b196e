// A report: headings, figures, tables and charts, as data.

/** A chart, drawn in the page by page/charts.js. Each has its numbers in a table too. */
export type Chart =
  /** How many pairs have which score. */
  | { readonly kind: "distribution"; readonly x: string; readonly bins: readonly Bin[]; readonly threshold: number | null }
  /** Precision and recall of all that reaches a score; `chosen` is marked. */
  | { readonly kind: "thresholds"; readonly x: string; readonly steps: readonly Step[]; readonly chosen: Step | null }
  /** What part of the pairs with a calibrated score is relevant: on the diagonal, as much as the score says. */
  | {
      readonly kind: "reliability";
      readonly bins: readonly { readonly score: number; readonly relevant: number; readonly pairs: number }[];
    }
  /** Changes from the first stage, a bar a query, best first. */
  | { readonly kind: "changes"; readonly label: string; readonly changes: readonly { readonly name: string; readonly change: number }[] }
  /** Points with names, joined in their order or not. */
  | {
      readonly kind: "points";
      readonly x: string;
      readonly y: string;
      readonly joined: boolean;
      readonly logX?: boolean;
      readonly points: readonly { readonly x: number; readonly y: number; readonly name: string }[];
    };

/** Pairs whose scores are from `from` up to `to`. */
export interface Bin {
  readonly from: number;
  readonly to: number;
  readonly relevant: number;
  readonly others: number;
}

export interface Step {
  readonly score: number;
  readonly precision: number;
  readonly recall: number;
}

export interface Section {
  readonly heading: string;
  /** What there is to see, in a sentence or two. */
  readonly note: string;
  readonly chart?: Chart;
  readonly tables?: readonly Table[];
}

export interface Table {
  readonly caption?: string;
  readonly titles: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface Report {
  readonly title: string;
  /** Name and value of what it is about: model, data, machine. */
  readonly facts: readonly (readonly [name: string, value: string])[];
  readonly sections: readonly Section[];
}
