// POST /api/ask { "question": ... } -> { "answer", "sources" }
import { createServer } from "node:http";
import { answer } from "./answer.mjs";

const MAX_BYTES = 10_000;

const server = createServer(async (request, response) => {
  const reply = (status, body) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  if (request.method !== "POST" || request.url !== "/api/ask") return reply(404, { error: "POST /api/ask" });
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  try {
    let body = "";
    for await (const chunk of request) {
      body += chunk;
      if (body.length > MAX_BYTES) return reply(413, { error: "The question is too long" });
    }
    const { question } = JSON.parse(body);
    if (typeof question !== "string" || question === "") return reply(400, { error: 'Send {"question": "..."}' });
    reply(200, await answer(question, gone.signal));
  } catch (error) {
    if (!gone.signal.aborted) reply(error instanceof SyntaxError ? 400 : 500, { error: error.message });
  }
});

server.listen(Number(process.env.PORT ?? 8101), "127.0.0.1", () => {
  const url = `http://127.0.0.1:${server.address().port}/api/ask`;
  console.log(`curl ${url} -d '{"question": "how do I keep bread fresh?"}'`);
});
