// Draws the charts of a report from the JSON in the page. Bundled with Observable Plot into one script by scripts/build.mjs.
import { barY, dot, gridX, gridY, lineY, plot, pointer, pointerX, rectY, ruleX, ruleY, text, tip } from "@observablehq/plot";

const RELEVANT = "var(--relevant)";
const OTHERS = "var(--others)";
const WORSE = "var(--worse)";
const MARK = "var(--mark)";
const LINE = "var(--line)";

const percent = (value) => `${Math.round(value * 1000) / 10}%`;
const short = (value) => String(Number(value.toPrecision(4)));
const frame = { width: 920, height: 300, marginLeft: 56, marginTop: 30, marginBottom: 40, style: { background: "none", color: "inherit" } };
const hint = { fill: "var(--ground)", stroke: LINE };

const draw = {
  distribution({ bins, threshold, x }) {
    const sides = [
      { key: "relevant", fill: RELEVANT, total: bins.reduce((sum, bin) => sum + bin.relevant, 0) },
      { key: "others", fill: OTHERS, total: bins.reduce((sum, bin) => sum + bin.others, 0) },
    ];
    // As parts of their own kind: the others are many more, and would hide the relevant.
    const marks = sides.map(({ key, fill, total }) =>
      rectY(bins, { x1: "from", x2: "to", y: (bin) => bin[key] / total, fill, fillOpacity: 0.65, insetLeft: 0.5, insetRight: 0.5 }),
    );
    const chart = plot({
      ...frame,
      x: { label: x },
      y: { label: "part of its kind", tickFormat: percent },
      marks: [gridY({ stroke: LINE }), ...marks.reverse(), ...chosenRule(threshold), ruleY([0])],
    });
    return [legend(["relevant", RELEVANT], ["others", OTHERS]), chart];
  },

  thresholds({ steps, chosen, x }) {
    const line = (key, stroke) => lineY(steps, { x: "score", y: key, stroke, strokeWidth: 2, curve: "step-after" });
    const chart = plot({
      ...frame,
      x: { label: `threshold: ${x}` },
      y: { label: null, domain: [0, 1], tickFormat: percent },
      marks: [
        gridY({ stroke: LINE }),
        line("precision", RELEVANT),
        line("recall", MARK),
        ...chosenRule(chosen?.score ?? null, chosen && `${percent(chosen.precision)} precision, ${percent(chosen.recall)} recall`),
        tip(
          steps,
          pointerX({
            x: "score",
            y: "precision",
            ...hint,
            title: (d) => `${x} ${short(d.score)}\nprecision ${percent(d.precision)}\nrecall ${percent(d.recall)}`,
          }),
        ),
        ruleY([0]),
      ],
    });
    return [legend(["precision", RELEVANT], ["recall", MARK]), chart];
  },

  reliability({ bins }) {
    const most = Math.max(...bins.map(({ pairs }) => pairs));
    const chart = plot({
      ...frame,
      width: 460,
      height: 420,
      x: { label: "calibrated score", domain: [0, 1] },
      y: { label: "part that is relevant", domain: [0, 1] },
      marks: [
        gridX({ stroke: LINE }),
        gridY({ stroke: LINE }),
        lineY([0, 1], { x: (d) => d, y: (d) => d, stroke: OTHERS, strokeDasharray: "4 4" }),
        lineY(bins, { x: "score", y: "relevant", stroke: RELEVANT, strokeWidth: 2 }),
        dot(bins, {
          x: "score",
          y: "relevant",
          r: ({ pairs }) => 3 + 7 * Math.sqrt(pairs / most),
          fill: RELEVANT,
          title: ({ pairs }) => `${pairs} pairs`,
        }),
      ],
      r: { type: "identity" },
    });
    chart.style.maxWidth = "460px";
    return [chart];
  },

  changes({ changes, label }) {
    const chart = plot({
      ...frame,
      x: { type: "band", domain: changes.map((_, i) => i), axis: null, padding: changes.length > 200 ? 0 : 0.15 },
      y: { label },
      marks: [
        gridY({ stroke: LINE }),
        rectBars(changes),
        tip(
          changes,
          pointerX({ x: (_, i) => i, y: "change", ...hint, title: (d) => `${d.name}\n${d.change > 0 ? "+" : ""}${short(d.change)}` }),
        ),
        ruleY([0]),
      ],
    });
    return [legend(["better than the first stage", RELEVANT], ["worse", WORSE]), chart];
  },

  points({ points, x, y, joined, logX }) {
    const chart = plot({
      ...frame,
      marginRight: 60,
      x: { label: x, type: logX ? "log" : "linear", base: 2, tickFormat: short, nice: !logX, inset: 8 },
      y: { label: y, nice: true, zero: joined, insetTop: 16 },
      marks: [
        gridX({ stroke: LINE }),
        gridY({ stroke: LINE }),
        ...(joined ? [lineY(points, { x: "x", y: "y", stroke: MARK, strokeWidth: 2 })] : []),
        dot(points, { x: "x", y: "y", fill: MARK, r: 4 }),
        text(points, {
          x: "x",
          y: "y",
          text: "name",
          dy: -11,
          fill: "currentColor",
          stroke: "var(--ground)",
          strokeWidth: 4,
        }),
        tip(points, pointer({ x: "x", y: "y", ...hint, title: (d) => `${d.name}\n${x}: ${short(d.x)}\n${y}: ${short(d.y)}` })),
      ],
    });
    return [chart];
  },
};

function rectBars(changes) {
  return barY(changes, { x: (_, i) => i, y: "change", fill: ({ change }) => (change < 0 ? WORSE : RELEVANT) });
}

function chosenRule(logit, label = "chosen") {
  if (logit === null) return [];
  return [
    ruleX([logit], { stroke: MARK, strokeWidth: 1.5, strokeDasharray: "5 3" }),
    text([logit], {
      x: (d) => d,
      text: () => `${label}, from ${short(logit)}`,
      frameAnchor: "top",
      dy: -18,
      dx: 6,
      textAnchor: "start",
      fill: MARK,
      stroke: "var(--ground)",
      strokeWidth: 4,
    }),
  ];
}

function legend(...entries) {
  const box = document.createElement("div");
  box.className = "legend";
  for (const [name, colour] of entries) {
    const entry = document.createElement("span");
    entry.textContent = name;
    entry.style.setProperty("--colour", colour);
    box.append(entry);
  }
  return box;
}

const charts = JSON.parse(document.getElementById("charts").textContent);
for (const figure of document.querySelectorAll("figure[data-chart]")) {
  const chart = charts[figure.dataset.chart];
  figure.append(...draw[chart.kind](chart));
}
