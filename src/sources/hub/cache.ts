// The cache layout of huggingface_hub: blobs by their hash, snapshots of links to them by commit, refs from branch to commit.
import { randomBytes } from "node:crypto";
import { copyFile, mkdir, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { readText } from "../../files/bounded-file.js";
import { isRevision, isSafePath } from "./names.js";

export const COMMIT = /^[0-9a-f]{40}$/;

/** One repository in the cache. */
export interface CachedRepository {
  readonly id: string;
  readonly folder: string;
}

export function cachedRepository(cache: string, id: string): CachedRepository {
  return { id, folder: join(cache, `models--${id.replaceAll("/", "--")}`) };
}

export function snapshotFolder(repository: CachedRepository, commit: string): string {
  return join(repository.folder, "snapshots", commit);
}

export function blobPath(repository: CachedRepository, hash: string): string {
  return join(repository.folder, "blobs", hash);
}

/** The commit a revision stood for when it was last downloaded. */
export async function readRef(repository: CachedRepository, revision: string): Promise<string | undefined> {
  if (COMMIT.test(revision)) return revision;
  if (!isRevision(revision)) return undefined;
  const commit = ((await readText(join(repository.folder, "refs", revision))) ?? "").trim();
  return COMMIT.test(commit) ? commit : undefined;
}

export async function writeRef(repository: CachedRepository, revision: string, commit: string): Promise<void> {
  if (COMMIT.test(revision) || !isRevision(revision)) return;
  const path = join(repository.folder, "refs", revision);
  await mkdir(dirname(path), { recursive: true });
  await replace(path, (temporary) => writeFile(temporary, commit));
}

/** Puts a blob into a snapshot under its own name: a link, or a copy where the file system has no links. */
export async function linkBlob(repository: CachedRepository, commit: string, file: string, hash: string): Promise<void> {
  if (!isSafePath(file)) throw new Error(`Unsafe file name ${JSON.stringify(file)}`);
  const path = join(snapshotFolder(repository, commit), file);
  const blob = blobPath(repository, hash);
  await mkdir(dirname(path), { recursive: true });
  await replace(path, async (temporary) => {
    try {
      await symlink(relative(dirname(path), blob), temporary);
      await stat(temporary);
    } catch {
      await rm(temporary, { force: true });
      await copyFile(blob, temporary);
    }
  });
}

async function replace(path: string, write: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString("hex")}.tmp`;
  try {
    await write(temporary);
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}
