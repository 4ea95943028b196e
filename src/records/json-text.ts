// The text of a member of a JSON object, as it was written: numbers beyond 2^53 and odd spellings stay what they were.

/**
 * @param json - An object that JSON.parse accepts.
 * @returns The last member of that name, as JSON.parse takes it, without blanks around it; undefined when there is none.
 */
export function memberText(json: string, name: string): string | undefined {
  let found: string | undefined;
  let at = skipBlanks(json, json.indexOf("{") + 1);
  while (json[at] === '"') {
    const keyEnd = skipString(json, at);
    const key = json.slice(at, keyEnd);
    const start = skipBlanks(json, skipBlanks(json, keyEnd) + 1); // over the colon
    const end = skipValue(json, start);
    if (key === `"${name}"` || (key.includes("\\") && JSON.parse(key) === name)) found = json.slice(start, end);
    at = skipBlanks(json, end);
    if (json[at] === ",") at = skipBlanks(json, at + 1);
  }
  return found;
}

function skipBlanks(json: string, at: number): number {
  let next = at;
  while (next < json.length && " \t\r\n".includes(json.charAt(next))) next++;
  return next;
}

/** From the opening quote to just after the closing one. */
function skipString(json: string, at: number): number {
  for (let next = at + 1; next < json.length; next++) {
    const quote = json.indexOf('"', next);
    if (quote < 0) return json.length;
    let slashes = 0;
    while (json[quote - 1 - slashes] === "\\") slashes++;
    if (slashes % 2 === 0) return quote + 1;
    next = quote;
  }
  return json.length;
}

const SCALAR_END = /[\s,}\]]/g;

function skipValue(json: string, at: number): number {
  const first = json[at];
  if (first === '"') return skipString(json, at);
  if (first === "{" || first === "[") return skipNested(json, at);
  SCALAR_END.lastIndex = at;
  return SCALAR_END.exec(json)?.index ?? json.length;
}

const NESTED = /["[\]{}]/g;

function skipNested(json: string, at: number): number {
  let depth = 0;
  let next = at;
  do {
    NESTED.lastIndex = next;
    const match = NESTED.exec(json);
    if (!match) return json.length;
    if (match[0] === '"') next = skipString(json, match.index);
    else {
      depth += match[0] === "{" || match[0] === "[" ? 1 : -1;
      next = match.index + 1;
    }
  } while (depth > 0);
  return next;
}
