// Reads the tasks of shards. Files that are not compressed are read from where a shard begins; of others a reader stays where it is,
// so that shards in ascending order read them once.
import { RerankerError } from "../index.js";
import { compressionOf, FIRST, type Row, readRows } from "../records/index.js";
import { Collection } from "./collection.js";
import { type Input, readTableTasks, type TableInput, tableOptionsOf, taskOf } from "./input.js";
import type { Shard } from "./shard.js";
import type { Task } from "./task.js";

interface Cursor {
  readonly file: string;
  readonly rows: AsyncGenerator<Row>;
  /** Rows read. */
  row: number;
}

export class InputReader implements AsyncDisposable {
  readonly #input: Input;
  readonly #onProgress: ((documents: number) => void) | undefined;
  #cursors: Cursor[] = [];
  #collection: Promise<Collection> | undefined;

  constructor(input: Input, onProgress?: (documents: number) => void) {
    this.#input = input;
    this.#onProgress = onProgress;
  }

  async *readTasks(shard: Shard, signal?: AbortSignal): AsyncGenerator<Task> {
    const { file, from, rows, firstRow } = shard;
    if (this.#input.kind === "collection") {
      this.#collection ??= Collection.open(this.#input, signal, this.#onProgress);
      // A pass that was aborted must not be remembered.
      this.#collection.catch(() => {
        this.#collection = undefined;
      });
      yield* (await this.#collection).readTasks(from, rows, signal);
      return;
    }
    const path = this.#input.files[file];
    if (path === undefined) throw new RerankerError("IO", `The job has no file ${file}`);
    if (compressionOf(path) === "none") yield* readTableTasks(this.#input, path, firstRow, from, rows, signal);
    else yield* this.#readOn(this.#input, path, shard, signal);
  }

  async *#readOn(input: TableInput, path: string, shard: Shard, signal: AbortSignal | undefined): AsyncGenerator<Task> {
    const start = shard.from.row;
    const cursor = this.#take(input, path, start);
    try {
      for (let left = shard.rows; left > 0; ) {
        signal?.throwIfAborted();
        const { value, done } = await cursor.rows.next();
        if (done) return;
        cursor.row++;
        if (cursor.row <= start) continue;
        yield taskOf(value, shard.firstRow + cursor.row - 1, input.columns);
        left--;
      }
      this.#cursors.push(cursor);
    } catch (error) {
      await cursor.rows.return(undefined);
      throw error;
    }
  }

  /** The reader that is nearest before a row, or a new one. */
  #take(input: TableInput, file: string, row: number): Cursor {
    const [best] = this.#cursors.filter((cursor) => cursor.file === file && cursor.row <= row).sort((a, b) => b.row - a.row);
    this.#cursors = this.#cursors.filter((cursor) => cursor !== best);
    if (best) return best;
    const rows = readRows(file, tableOptionsOf(input), { from: { ...FIRST, row } });
    return { file, rows, row };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const cursor of this.#cursors) await cursor.rows.return(undefined);
    await this.#collection?.then((collection) => collection[Symbol.asyncDispose]()).catch(() => undefined);
  }
}
