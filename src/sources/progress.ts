// What a caller is told while something long goes on.

/** Pairs done so far of a call, or bytes of a download or conversion. */
export interface Progress {
  readonly done: number;
  readonly total: number;
  /** While a model is loaded: what is going on. Both by turns while weights are converted as they arrive. */
  readonly stage?: "download" | "convert";
  /** The file that is downloaded. */
  readonly file?: string;
}
