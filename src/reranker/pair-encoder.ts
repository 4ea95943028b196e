// From a query and a document to what the native part is given: instructions, template, prompt and lengths.

import type { EncodeSpec, NativeModel, NativeTemplatePart } from "../addon/native.js";
import { asRerankerError } from "../errors.js";
import type { ModelFacts } from "../gguf/model-facts.js";
import type { ChatTemplate } from "../models/index.js";
import { compileInstruction, type Instruct } from "./instruction.js";
import type { LoadedModel } from "./load.js";
import type { Pair } from "./scoring.js";
import type { ScoreSettings } from "./settings.js";

export class PairEncoder {
  readonly #facts: ModelFacts;
  readonly #model: NativeModel;
  readonly #asQuery: Instruct;
  readonly #asDocument: Instruct;

  constructor({ facts, options, models }: LoadedModel) {
    this.#facts = facts;
    this.#model = models[0];
    this.#asQuery = compileInstruction(
      "queryInstructionFormat",
      options.queryInstructionFormat ?? "{}{}",
      options.queryInstructionForRerank === undefined ? facts.defaults.queryInstruction : options.queryInstructionForRerank,
    );
    this.#asDocument = compileInstruction(
      "passageInstructionFormat",
      options.passageInstructionFormat ?? "{}{}",
      options.passageInstructionForRerank === undefined ? facts.defaults.documentInstruction : options.passageInstructionForRerank,
    );
  }

  /** How the native part lays out and cuts the pairs of a call. */
  spec(settings: ScoreSettings): EncodeSpec {
    const facts = this.#facts;
    const ids = (text: string) => (facts.layout.kind === "prompt" ? this.call((model) => model.encode(text, true)) : new Int32Array());
    return {
      maxLength: settings.maxLength,
      queryMaxLength: settings.queryMaxLength,
      truncation: settings.truncation,
      keepEnd: facts.defaults.truncationSide === "left",
      parseSpecial: settings.parseSpecialTokens,
      separator: ids(facts.defaults.separator),
      prompt: ids(settings.prompt),
      template: facts.template ? this.#template(facts.template, settings) : [],
    };
  }

  /** @throws {RangeError} A `maxLength` that leaves no room for the texts. */
  #template(template: ChatTemplate, { instruction, maxLength }: ScoreSettings): NativeTemplatePart[] {
    const parts = template.map((part): NativeTemplatePart => {
      if (typeof part === "string") return ["literal", part];
      return part.slot === "instruction" ? ["given", this.#strip(instruction ?? "")] : [part.slot, ""];
    });
    const lastText = template.findLastIndex((part) => typeof part !== "string");
    const closing = template.slice(lastText + 1).join("");
    const frame = this.call((model) => model.encode(parts[0]?.[1] ?? "", true).length + model.encode(closing, true).length);
    if (maxLength > frame) return parts;
    throw new RangeError(`Expected \`maxLength\` to be above ${frame}, the tokens around the texts of a pair, got \`${maxLength}\``);
  }

  /** The texts of a pair as they are laid out. */
  instructed([query, document]: Pair, { instruction }: ScoreSettings): Pair {
    const [before, after] = this.#facts.instructionFormat ?? [];
    const instructed = before !== undefined && instruction ? `${before}${instruction}${after}` : "";
    return [instructed + this.#strip(this.#asQuery(query)), this.#strip(this.#asDocument(document))];
  }

  #strip(text: string): string {
    return this.#facts.stripsTexts ? stripped(text) : text;
  }

  /** A synchronous call of the native model; its errors become ours. */
  call<T>(work: (model: NativeModel) => T): T {
    try {
      return work(this.#model);
    } catch (error) {
      throw asRerankerError(error, "COMPUTE_FAILED");
    }
  }

  /** As `call`, for one that runs off the JS thread. */
  async native<T>(work: (model: NativeModel) => Promise<T>): Promise<T> {
    try {
      return await work(this.#model);
    } catch (error) {
      throw asRerankerError(error, "COMPUTE_FAILED");
    }
  }
}

// Python's str.isspace.
const WHITE_SPACE = new Set(
  "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000",
);

/** Python's str.strip(), which the templates of Jinja call. */
function stripped(text: string): string {
  let begin = 0;
  let end = text.length;
  while (begin < end && WHITE_SPACE.has(text.charAt(begin))) begin++;
  while (end > begin && WHITE_SPACE.has(text.charAt(end - 1))) end--;
  return text.slice(begin, end);
}
