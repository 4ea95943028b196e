// What a row of the input asks for, and what a row of the output holds.

/** One row: a query with the documents of each of its columns. */
export interface Task {
  /** Number of the row in the whole input, from 0. */
  readonly row: number;
  readonly query: string;
  /** Texts by column; a pair has one column of one text. */
  readonly lists: readonly (readonly string[])[];
  /** Ids of the texts, where they have some. */
  readonly ids: readonly (readonly (string | undefined)[])[];
  readonly queryId: string | undefined;
  /** Columns carried to the output, as JSON text. */
  readonly kept: readonly (string | undefined)[];
}

/** A task with its scores: as `lists`, or for pairs with several cutoff layers a list a layer. */
export interface ScoredTask extends Task {
  readonly scores: readonly (readonly number[])[];
  /** Texts the model did not read to their end. */
  readonly truncated: number;
}

/** How a row of the output looks. */
export interface OutputShape {
  /** `pair`: one number a row; `layers`: one a cutoff layer; `lists`: a list for each column of documents. */
  readonly kind: "pair" | "layers" | "lists";
  /** Names of the columns of scores. */
  readonly scores: readonly string[];
  readonly kept: readonly { readonly name: string; readonly kind: "integer" | "text" }[];
  /** Whether each row names its documents, as those of a collection do. */
  readonly withIds: boolean;
}

export type OutputFormat = "jsonl" | "parquet" | "trec";
