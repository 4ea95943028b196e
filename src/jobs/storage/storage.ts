// Where outputs go: a folder or a bucket behind one small interface.

/** An output that is being made; nobody sees it under its name before it is whole. */
export interface PendingOutput {
  /** A local file to write. */
  readonly path: string;
  /** Puts the finished file in place, at once and durably; replaces what has the name. */
  commit(): Promise<void>;
  /** Removes what is left of it; after `commit` it does nothing. */
  discard(): Promise<void>;
}

export interface Storage {
  /** As messages name it. */
  readonly name: string;
  create(name: string): Promise<PendingOutput>;
  /** undefined: there is no such object. */
  read(name: string): Promise<Buffer | undefined>;
  /** undefined: there is no such object. */
  size(name: string): Promise<number | undefined>;
  remove(name: string): Promise<void>;
  /** Removes what processes that no longer run left half made. */
  sweep(): Promise<void>;
}

/** Addresses of one object that are good for a while and need no credentials. */
export interface PresignedObject {
  readonly put: string;
  /** Without it every part is made, whether it is there or not. */
  readonly get?: string | undefined;
  readonly head?: string | undefined;
}

export type StoragePlace =
  | { readonly kind: "folder"; readonly path: string }
  | { readonly kind: "s3"; readonly bucket: string; readonly prefix: string; readonly endpoint?: string; readonly region?: string }
  | { readonly kind: "presigned"; readonly name: string; readonly objects: Readonly<Record<string, PresignedObject>> };

/** Puts a small object in place. */
export async function putBytes(storage: Storage, name: string, bytes: Uint8Array): Promise<void> {
  const { PartFile } = await import("../part-file.js");
  const pending = await storage.create(name);
  try {
    const file = await PartFile.create(pending.path);
    try {
      await file.write(bytes);
      await file.finish();
    } finally {
      await file.abandon();
    }
    await pending.commit();
  } finally {
    await pending.discard();
  }
}
