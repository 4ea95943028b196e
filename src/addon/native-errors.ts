// Native errors become RerankerError here, made on the JS side so that they carry the caller's stack.
import { RerankerError, type RerankerErrorCode } from "../errors.js";

const CODES = {
  ADDON_NOT_FOUND: true,
  GGML_NOT_FOUND: true,
  GGML_VERSION: true,
  DEVICE_NOT_FOUND: true,
  MODEL_NOT_FOUND: true,
  MODEL_INVALID: true,
  MODEL_UNSUPPORTED: true,
  TOKENIZER_UNSUPPORTED: true,
  INPUT_TOO_LONG: true,
  TRUNCATED: true,
  OUT_OF_MEMORY: true,
  CLOSED: true,
  COMPUTE_FAILED: true,
  DOWNLOAD_FAILED: true,
  CONVERT_FAILED: true,
  IO: true,
} as const satisfies Record<RerankerErrorCode, true>;

/** A native error under its own code, or `otherwise` where it has none of ours. Errors made in TypeScript pass unchanged. */
export function asRerankerError(error: unknown, otherwise: RerankerErrorCode): unknown {
  if (error instanceof RerankerError || error instanceof TypeError || error instanceof RangeError) return error;
  if (!(error instanceof Error)) return error;
  const code =
    "code" in error && typeof error.code === "string" && Object.hasOwn(CODES, error.code) ? (error.code as RerankerErrorCode) : otherwise;
  return new RerankerError(code, error.message, { cause: error });
}
