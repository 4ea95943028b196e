// Alerts, dashboard and scaler, and the queries in them.
import type { IScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1";
import { parseOne, readDeployed } from "./files.js";

interface Rules {
  readonly groups: { readonly name: string; readonly rules: { readonly alert: string; readonly expr: string }[] }[];
}
interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: { readonly refId: string; readonly expr: string }[];
}

export const rules = parseOne<Rules>("prometheus/alerts.yml");
export const dashboard = JSON.parse(readDeployed("grafana/dashboard.json")) as {
  panels: Panel[];
  templating: { list: { name: string; definition?: string }[] };
};
const scaler = parseOne<IScaledObject>("kubernetes/base/scaled-object.yaml");

export const queries = [
  ...rules.groups.flatMap((group) => group.rules.map(({ expr }) => expr)),
  ...dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
  ...(scaler.spec?.triggers.map(({ metadata }) => metadata["query"] ?? "") ?? []),
];
