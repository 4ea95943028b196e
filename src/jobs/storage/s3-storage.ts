// Outputs in a bucket of S3 or of anything that speaks its protocol, through the AWS SDK: an optional dependency.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { RerankerError } from "../../index.js";
import type { PendingOutput, PresignedObject, Storage, StoragePlace } from "./storage.js";
import { temporaryOutput } from "./temporary-output.js";

type Sdk = typeof import("@aws-sdk/client-s3");
type Place = Extract<StoragePlace, { kind: "s3" }>;

export class S3Storage implements Storage {
  readonly name: string;
  readonly #sdk: Sdk;
  readonly #client: InstanceType<Sdk["S3Client"]>;
  readonly #place: Place;

  static async open(place: Place): Promise<S3Storage> {
    const sdk = await import("@aws-sdk/client-s3").catch((cause: unknown) => {
      throw new RerankerError("IO", "Outputs at s3:// need the AWS SDK: npm install @aws-sdk/client-s3", { cause });
    });
    return new S3Storage(sdk, place);
  }

  private constructor(sdk: Sdk, place: Place) {
    this.#sdk = sdk;
    this.#place = place;
    this.name = `s3://${place.bucket}/${place.prefix}`;
    this.#client = new sdk.S3Client({
      region: place.region ?? "us-east-1",
      // Other servers rarely have a name for each bucket, and few know checksums in trailers.
      ...(place.endpoint && { endpoint: place.endpoint, forcePathStyle: true }),
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
    });
  }

  async create(name: string): Promise<PendingOutput> {
    return temporaryOutput(name, async (path) => {
      const { size } = await stat(path);
      const command = new this.#sdk.PutObjectCommand({ ...this.#at(name), Body: createReadStream(path), ContentLength: size });
      await this.#attempt(`write ${name}`, () => this.#client.send(command));
    });
  }

  async read(name: string): Promise<Buffer | undefined> {
    return this.#unlessMissing(name, async () => {
      const { Body } = await this.#client.send(new this.#sdk.GetObjectCommand(this.#at(name)));
      return Buffer.from((await Body?.transformToByteArray()) ?? new Uint8Array());
    });
  }

  async size(name: string): Promise<number | undefined> {
    return this.#unlessMissing(
      name,
      async () => (await this.#client.send(new this.#sdk.HeadObjectCommand(this.#at(name)))).ContentLength ?? 0,
    );
  }

  async remove(name: string): Promise<void> {
    await this.#attempt(`remove ${name}`, () => this.#client.send(new this.#sdk.DeleteObjectCommand(this.#at(name))));
  }

  /** Objects appear whole or not at all. */
  async sweep(): Promise<void> {}

  /** Addresses for workers that have neither credentials nor the SDK. */
  async presign(names: readonly string[], seconds: number): Promise<Record<string, PresignedObject>> {
    const { getSignedUrl } = await import("@aws-sdk/s3-request-presigner").catch((cause: unknown) => {
      throw new RerankerError("IO", "--presign needs npm install @aws-sdk/s3-request-presigner", { cause });
    });
    const { PutObjectCommand, GetObjectCommand, HeadObjectCommand } = this.#sdk;
    const sign = (command: InstanceType<typeof PutObjectCommand | typeof GetObjectCommand | typeof HeadObjectCommand>) =>
      getSignedUrl(this.#client, command as InstanceType<typeof GetObjectCommand>, { expiresIn: seconds });
    const objects: Record<string, PresignedObject> = {};
    for (const name of names) {
      const at = this.#at(name);
      const [put, get, head] = await Promise.all([
        sign(new PutObjectCommand(at)),
        sign(new GetObjectCommand(at)),
        sign(new HeadObjectCommand(at)),
      ]);
      objects[name] = { put, get, head };
    }
    return objects;
  }

  #at(name: string): { Bucket: string; Key: string } {
    const { bucket, prefix } = this.#place;
    return { Bucket: bucket, Key: prefix === "" ? name : `${prefix}/${name}` };
  }

  async #unlessMissing<T>(name: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if ((error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode === 404) return undefined;
      return this.#attempt(`read ${name}`, () => Promise.reject(error));
    }
  }

  async #attempt<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      throw new RerankerError("IO", `Cannot ${what} at ${this.name}: ${(cause as Error).message || (cause as Error).name}`, { cause });
    }
  }
}
