// Reading a request's body: JSON whatever the content type says, never more than the limit, and refused while it arrives.
import { HttpError } from "./http-error.js";
import { within } from "./request-signal.js";

const ENCODINGS = ["gzip", "deflate"] as const;

/**
 * @param maxBytes - Also of a body that comes in chunks or compressed, counted as it is unpacked.
 * @throws {HttpError} 413, or 400 when it is no JSON in UTF-8.
 */
export async function readJson(request: Request, maxBytes: number, signal: AbortSignal): Promise<{ json: unknown; bytes: number }> {
  const tooLarge = () =>
    new HttpError(413, `The body is larger than ${maxBytes} bytes, the limit of this server (--max-body)`, {
      headers: { connection: "close" },
    });
  const length = request.headers.get("content-length");
  if (Number(length ?? 0) > maxBytes) throw tooLarge();
  if (length !== null && !request.headers.has("content-encoding")) {
    const body = new Uint8Array(await readWhole(request, signal));
    if (body.byteLength > maxBytes) throw tooLarge();
    return { json: parse(body), bytes: body.byteLength };
  }
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of readChunks(unpacked(request), signal)) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  return { json: parse(Buffer.concat(chunks)), bytes };
}

/** A body whose length is known, and bounded, without the cost of a stream; HTTP servers hold their clients to it. */
async function readWhole(request: Request, signal: AbortSignal): Promise<ArrayBuffer> {
  try {
    return await within(signal, request.arrayBuffer());
  } catch (error) {
    signal.throwIfAborted();
    throw new HttpError(400, "The body broke off", { cause: error });
  }
}

function unpacked(request: Request): ReadableStream<Uint8Array> | null {
  const encoding = request.headers.get("content-encoding")?.trim().toLowerCase() ?? "";
  if (encoding === "" || encoding === "identity") return request.body;
  const known = ENCODINGS.find((each) => each === encoding);
  if (!known) throw new HttpError(400, `Content encoding ${encoding.slice(0, 40)} is not known here; send ${ENCODINGS.join(", ")} or none`);
  return request.body?.pipeThrough<Uint8Array>(new DecompressionStream(known)) ?? null;
}

async function* readChunks(stream: ReadableStream<Uint8Array> | null, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  signal.throwIfAborted();
  if (!stream) return;
  const reader = stream.getReader();
  const stop = () => void reader.cancel(signal.reason).catch(() => {}); // ends a read that waits
  signal.addEventListener("abort", stop, { once: true });
  let done = false;
  try {
    while (!done) {
      const next = await reader.read();
      signal.throwIfAborted();
      done = next.done;
      if (next.value) yield next.value;
    }
  } catch (error) {
    done = true;
    signal.throwIfAborted();
    throw new HttpError(400, "The body broke off, or is not packed as its encoding says", { cause: error });
  } finally {
    signal.removeEventListener("abort", stop);
    if (!done) reader.cancel().catch(() => {});
  }
}

function parse(bytes: Uint8Array): unknown {
  const refuse = (what: string, cause?: unknown) => new HttpError(400, `The body is not JSON${what}`, { cause });
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes); // drops a byte order mark
  } catch (error) {
    throw refuse(" in UTF-8", error);
  }
  if (text.trim() === "") throw refuse(": it is empty");
  try {
    return JSON.parse(text);
  } catch (error) {
    throw refuse(`: ${error instanceof Error ? error.message : ""}`, error);
  }
}
