// The call on the page as a line for a terminal or a program. The key is never part of it: both read it from the environment.

/**
 * In single quotes nothing has a meaning to a shell but the quote itself.
 * @param {string} text
 */
const shellQuote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * @param {string} url
 * @param {object} request
 * @param {boolean} withKey
 */
export function asCurl(url, request, withKey) {
  const key = withKey ? ` \\\n  -H "Authorization: Bearer $BGE_API_KEY"` : "";
  const head = `curl ${shellQuote(url)} \\\n  -H 'Content-Type: application/json'${key} \\\n  `;
  const body = JSON.stringify(request);
  // Linux takes no argument above 128 KiB.
  return body.length < 30_000 ? `${head}-d ${shellQuote(body)}` : `${head}--data-binary @- <<'JSON'\n${body}\nJSON`;
}

/**
 * @param {string} url
 * @param {object} request
 * @param {boolean} withKey
 */
export function asFetch(url, request, withKey) {
  const key = withKey ? `, Authorization: \`Bearer \${process.env.BGE_API_KEY}\`` : "";
  return `const response = await fetch(${JSON.stringify(url)}, {
  method: "POST",
  headers: { "Content-Type": "application/json"${key} },
  body: JSON.stringify(${JSON.stringify(request, null, 2).replaceAll("\n", "\n  ")}),
});
if (!response.ok) throw new Error(await response.text());
const { results } = await response.json(); // [{ index, relevance_score }], best first
`;
}
