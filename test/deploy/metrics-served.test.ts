// What alerts, dashboard and scaler read is what the server tells.
import { afterAll, expect, it } from "vitest";
import { createHandler } from "../../src/server/index.js";
import { metricsOf } from "./metrics.js";
import { queries } from "./queries.js";

const handler = createHandler();
afterAll(() => handler.close());

it("every metric that is read is one that is served, and has its labels", async () => {
  const text = await (await handler(new Request("http://127.0.0.1/metrics"))).text();
  const served = new Set<string>();
  for (const [, name = "", type = ""] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    if (type === "histogram") for (const part of ["_bucket", "_sum", "_count"]) served.add(name + part);
    else served.add(name);
  }
  // Prometheus's own, and what only Linux tells of a process.
  const elsewhere = new Set([
    "up",
    ...(process.platform === "linux" ? [] : ["process_open_fds", "process_max_fds", "process_resident_memory_bytes"]),
  ]);
  const missing = queries.flatMap(metricsOf).filter((name) => !served.has(name) && !elsewhere.has(name));
  expect([...new Set(missing)]).toEqual([]);
});
