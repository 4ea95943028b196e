// markdown-search FOLDER QUESTION: in the terminal. markdown-search FOLDER --serve [--port N]: as a page.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import { parseArgs, styleText } from "node:util";
import { openSearch } from "./search.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { serve: { type: "boolean" }, port: { type: "string", default: "8100" }, model: { type: "string", default: "default" } },
});
const [folder, ...words] = positionals;
if (!folder || (words.length === 0 && !values.serve)) {
  console.error('Usage: npm start -- FOLDER "a question"    or    npm start -- FOLDER --serve [--port 8100] [--model v2-m3]');
  process.exit(2);
}

// npm starts scripts in the example's folder; the caller's is where paths are meant.
const search = await openSearch(path.resolve(process.env.INIT_CWD ?? ".", folder), values.model);
if (values.serve) serve(Number(values.port));
else {
  print(words.join(" "), await search.search(words.join(" ")));
  await search.close();
}

function print(query, { hits, found, findMs, rerankMs }) {
  const style = (name, text) => (process.stdout.isTTY ? styleText(name, text) : text);
  console.log(`${query}: ${found} of ${search.count} sections in ${findMs.toFixed(1)} ms, reranked in ${rerankMs.toFixed(0)} ms\n`);
  for (const { score, path: file, line, heading, excerpt, wasAt } of hits) {
    const text = excerpt.replace(/\s+/g, " ").slice(0, 150);
    console.log(
      `${style("green", score.toFixed(3))}  ${style("bold", `${file}:${line}`)}  ${heading}  ${style("dim", `(was ${wasAt})`)}\n       ${text}\n`,
    );
  }
}

function serve(port) {
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://localhost");
    try {
      if (pathname === "/search") {
        response.setHeader("content-type", "application/json");
        response.end(JSON.stringify(await search.search(searchParams.get("q") ?? "", 10)));
      } else if (pathname === "/") {
        response.setHeader("content-type", "text/html; charset=utf-8");
        response.end(await readFile(new URL("page.html", import.meta.url)));
      } else response.writeHead(404).end("Not found\n");
    } catch (error) {
      response.writeHead(500).end(JSON.stringify({ error: error.message }));
    }
  });
  server.listen(port, "127.0.0.1", () => console.log(`${search.count} sections at http://127.0.0.1:${server.address().port}`));
}
