// Alerts, dashboard and scaler: queries that parse, and that read what the server tells.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { PrometheusRule } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import { describe, expect, it } from "vitest";
import { deployFolder, readDeployed } from "./files.js";
import { metricsOf } from "./metrics.js";
import { dashboard, queries, rules } from "./queries.js";

const promtool = spawnSync("promtool", ["--version"]).status === 0;
if (!promtool) console.warn("The alerts' own cases are not run: no promtool here.");

describe("alerts", () => {
  it("have the form of Prometheus's rules", () => {
    new PrometheusRule({ metadata: { name: "a" }, spec: rules as never }).validate();
    for (const { alert, ...rule } of rules.groups.flatMap((group) => group.rules))
      expect(Object.keys(rule), alert).toEqual(["expr", "for", "labels", "annotations"]);
  });

  it.skipIf(!promtool)("fire when they should, by promtool", () => {
    const cwd = fileURLToPath(new URL("prometheus/", deployFolder));
    const { status, stdout, stderr } = spawnSync("promtool", ["test", "rules", "alerts.test.yml"], { cwd, encoding: "utf8" });
    expect(status, stdout + stderr).toBe(0);
  });

  it("have a case each", () => {
    const tested = readDeployed("prometheus/alerts.test.yml");
    for (const { alert } of rules.groups.flatMap((group) => group.rules)) expect(tested).toContain(`alertname: ${alert}`);
  });
});

describe("dashboard", () => {
  it("has panels that do not cover one another, each with an id, a unit and a word of explanation", () => {
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    const taken = new Set<string>();
    for (const { type, title, description, gridPos } of dashboard.panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      if (type !== "row") expect(description, title).toBeTruthy();
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.has(`${x},${y}`), `${title} covers another panel`).toBe(false);
          taken.add(`${x},${y}`);
        }
    }
  });
});

describe("queries", () => {
  it("are PromQL", () => {
    expect(queries.length).toBeGreaterThan(20);
    for (const query of queries) expect(metricsOf(query).length, query).toBeGreaterThan(0);
    expect(() => metricsOf("sum(rate(a[5m])")).toThrow(SyntaxError);
    expect(metricsOf('sum by (le) (rate(a_bucket{x="y"}[5m])) / on (i) b > 1')).toEqual(["a_bucket", "b"]);
  });
});
