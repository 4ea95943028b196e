// The metrics that a query reads, by Prometheus's own grammar.
import { parser } from "@prometheus-io/lezer-promql";

/** Grafana's variables, as what they stand for. */
const plain = (expression: string) => expression.replaceAll("$__rate_interval", "1m").replace(/\$(job|instance)/g, ".*");

/** @throws {SyntaxError} No PromQL. */
export function metricsOf(expression: string): string[] {
  const text = plain(expression);
  const metrics: string[] = [];
  parser.parse(text).iterate({
    enter: (node) => {
      if (node.type.isError) throw new SyntaxError(`No PromQL at ${node.from}: ${text}`);
      if (node.name === "VectorSelector") {
        const name = /^[a-zA-Z_:][\w:]*/.exec(text.slice(node.from, node.to));
        if (name) metrics.push(name[0]);
      }
    },
  });
  return metrics;
}
