// Instructions glued to a text by a Python format string, as FlagEmbedding's `query_instruction_format`.

export type Instruct = (text: string) => string;

/**
 * @param instruction - null leaves the texts as they are, whatever the format.
 * @param format - Slots `{}` `{}` or `{0}` `{1}`: the instruction, then the text. `{{` and `}}` are braces. The two characters
 *   backslash and n become a newline, as in the reference.
 * @throws {RangeError} Any other brace.
 */
export function compileInstruction(name: string, format: string, instruction: string | null): Instruct {
  const parts = parseFormat(name, format);
  if (instruction === null) return (text) => text;
  return (text) => parts.map((part) => (typeof part === "string" ? part : part === 0 ? instruction : text)).join("");
}

type Part = string | 0 | 1;

function parseFormat(name: string, format: string): Part[] {
  const fail = (why: string) =>
    new RangeError(`Expected \`${name}\` to be a format such as "{}{}", got \`${JSON.stringify(format)}\`: ${why}`);
  const parts: Part[] = [];
  let automatic = 0;
  let numbered = false;
  for (const [token] of format.replaceAll("\\n", "\n").matchAll(/\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+/g)) {
    if (token === "{{" || token === "}}") parts.push(token.slice(0, 1));
    else if (!/^[{}]/.test(token)) parts.push(token);
    else if (token === "{}") {
      if (automatic > 1) throw fail("there are two slots, the instruction and the text");
      parts.push(automatic++ as 0 | 1);
    } else if (token === "{0}" || token === "{1}") {
      numbered = true;
      parts.push(Number(token.slice(1, -1)) as 0 | 1);
    } else throw fail(`\`${token}\` is not a slot; write {{ or }} for a brace`);
  }
  if (numbered && automatic > 0) throw fail("numbered and automatic slots do not mix");
  return parts;
}
