// Where outputs go, as plain data that travels through a queue, and how it is opened.
import { resolve } from "node:path";
import { RerankerError } from "../../index.js";
import { FolderStorage } from "./folder-storage.js";
import type { Storage, StoragePlace } from "./storage.js";

/** @param output - A folder, or `s3://bucket/prefix`. `AWS_ENDPOINT_URL` and `AWS_REGION` are obeyed, as the AWS tools do. */
export function placeOf(output: string): StoragePlace {
  if (!/^[a-z][a-z0-9+.-]+:\/\//i.test(output)) return { kind: "folder", path: resolve(output) };
  const [, bucket, prefix = ""] = /^s3:\/\/([^/]+)(?:\/(.*))?$/.exec(output) ?? [];
  if (bucket === undefined) throw new RangeError(`Expected --output to be a folder or s3://bucket/prefix, got \`${output}\``);
  const { AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION } = process.env;
  const endpoint = AWS_ENDPOINT_URL_S3 ?? AWS_ENDPOINT_URL;
  const region = AWS_REGION ?? AWS_DEFAULT_REGION;
  return { kind: "s3", bucket, prefix: prefix.replace(/\/+$/, ""), ...(endpoint && { endpoint }), ...(region && { region }) };
}

export async function openStorage(place: StoragePlace): Promise<Storage> {
  switch (place.kind) {
    case "folder":
      return new FolderStorage(place.path);
    case "s3": {
      const { S3Storage } = await import("./s3-storage.js");
      return S3Storage.open(place);
    }
    case "presigned": {
      const { PresignedStorage } = await import("./presigned-storage.js");
      return new PresignedStorage(place);
    }
    default:
      throw new RerankerError(
        "IO",
        `This version does not know outputs of the kind ${JSON.stringify((place satisfies never as StoragePlace).kind)}`,
      );
  }
}
