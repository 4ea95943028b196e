// The error of a tokenizer file that is not what its format says.
import { RerankerError } from "../errors.js";

export function invalid(what: string): RerankerError {
  return new RerankerError("MODEL_INVALID", `${what}. Download the tokenizer files again.`);
}
