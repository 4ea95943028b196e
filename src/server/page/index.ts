// The page that `serve` shows at "/": static files beside this one, sent under a policy that lets them reach this server alone.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";

const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join("; ");

const types = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
} as const;

/** All that is ever sent: no path of a request reaches the file system. */
const names = [
  "api.js",
  "copy.js",
  "documents.js",
  "elements.js",
  "example.js",
  "form.js",
  "icon.svg",
  "main.js",
  "page.css",
  "ranking.css",
  "ranking.js",
  "results.js",
  "theme.js",
];
const files = new Map([["/", "index.html"], ...names.map((name) => [`/page/${name}`, name] as const)]);

const loaded = new Map<string, Promise<{ readonly body: Buffer; readonly etag: string }>>();

async function load(name: string) {
  const body = await readFile(new URL(`static/${name}`, import.meta.url));
  return { body, etag: `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"` };
}

/**
 * The page or one of its files; `undefined` for every other path.
 *
 * @param path - Path of the request below where the server is mounted: `/` or `/page/<file>`.
 * @param ifNoneMatch - The request's `If-None-Match`; a file that has not changed is answered 304 without a body.
 */
export async function pageFile(path: string, ifNoneMatch?: string | null): Promise<Response | undefined> {
  const name = files.get(path);
  if (name === undefined) return undefined;
  const content = loaded.get(name) ?? load(name);
  loaded.set(name, content);
  const { body, etag } = await content;
  const headers = {
    "content-type": types[name.slice(name.lastIndexOf(".") + 1) as keyof typeof types],
    "cache-control": "no-cache",
    etag,
    "content-security-policy": policy,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
  };
  const unchanged = ifNoneMatch?.split(",").some((tag) => tag.trim().replace(/^W\//, "") === etag);
  return unchanged ? new Response(null, { status: 304, headers }) : new Response(new Uint8Array(body), { headers });
}
