// Where the addon may lie, and which one this machine takes.
import { existsSync, lstatSync, type Stats } from "node:fs";
import path from "node:path";
import { userCacheFolder } from "../files/cache-folder.js";
import { packageRoot } from "./own-folder.js";

export { packageRoot };

/** What the prebuilt addons and the prebuilt ggml libraries for Linux need. */
export const MINIMUM_GLIBC = "2.34";

/** Version of glibc, or undefined where it is another C library (musl) or another system than Linux. */
export function glibcVersion(): string | undefined {
  const report = process.report as (NodeJS.ProcessReport & { excludeNetwork?: boolean }) | undefined;
  if (process.platform !== "linux" || !report) return undefined;
  const { excludeNetwork } = report;
  report.excludeNetwork = true; // else it may look host names up, for seconds
  const { header } = report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  report.excludeNetwork = excludeNetwork as boolean;
  return header.glibcVersionRuntime;
}

/** Why the prebuilt files for Linux do not run on this machine; undefined: they do, or it is no Linux. */
export function whyNotPrebuilt(): string | undefined {
  if (process.platform !== "linux") return undefined;
  const version = glibcVersion();
  if (version === undefined) return "this system has another C library than glibc (Alpine Linux has musl)";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = MINIMUM_GLIBC.split(".").map(Number);
  if (major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)) return undefined;
  return `this system has glibc ${version}, and they need ${MINIMUM_GLIBC}`;
}

const platform = `${process.platform}-${process.arch}`;

/** Where `bge-reranker build`, or a build in a checkout, puts the addon. */
export const localAddon = path.join(packageRoot, "build", "Release", "bge_reranker.node");

/** Where `bge-reranker build` puts it when the package's folder cannot be written to. */
export const cachedAddon = (version: string): string => path.join(userCacheFolder(), "addon", version, platform, "bge_reranker.node");

/**
 * The cached addon, where there is one.
 *
 * @throws {Error} It, or the folder it lies in, belongs to another user or may be written by others: it would run as this user.
 */
export function ownCachedAddon(version: string): string | undefined {
  let file: string;
  try {
    file = cachedAddon(version);
  } catch {
    return undefined; // users without a home
  }
  if (!existsSync(file)) return undefined;
  const foreign = [file, path.dirname(file)].find((each) => !isOwn(lstatSync(each)));
  if (foreign === undefined && lstatSync(file).isFile()) return file;
  throw new Error(
    `${foreign ?? file} is no file of this user's own, or others may write to it. Remove it, or set its owner and mode right.`,
  );
}

// Windows has no such bits here; the folders we use there are private to the user.
export function isOwn({ uid, mode }: Pick<Stats, "uid" | "mode">): boolean {
  return !process.getuid || (uid === process.getuid() && (mode & 0o022) === 0);
}

export const prebuiltAddon = path.join(packageRoot, "prebuilds", platform, "node.napi.node");
