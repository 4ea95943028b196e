import { describe, expect, it } from "vitest";
import { parseComparisons } from "../../src/cli/report/comparison.js";
import { renderReport } from "../../src/cli/report/page.js";
import { binsOf, chooseStep, distributionSection, thresholdSection } from "../../src/cli/report/scores.js";

const example = (logit: number, relevant: boolean) => ({ logit, relevant });

describe("a report's page", () => {
  const evil = `</script><img src=x onerror="alert('1')">&`;
  const html = renderReport(
    {
      title: evil,
      facts: [[evil, evil]],
      sections: [
        {
          heading: evil,
          note: evil,
          chart: { kind: "changes", label: evil, changes: [{ name: evil, change: -1 }] },
          tables: [{ caption: evil, titles: [evil], rows: [[evil]] }],
        },
      ],
    },
    'const end = "</script>";',
    "body {}",
  );

  it("lets no text of queries or documents become markup", () => {
    expect(html).not.toContain("<img");
    expect(html.match(/<\/script>/g)).toHaveLength(2); // of our own two elements
    expect(html).toContain("&lt;/script&gt;&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;");
    const json = /<script type="application\/json" id="charts">(.*?)<\/script>/s.exec(html)?.[1] ?? "";
    expect(JSON.parse(json)[0].changes[0].name).toBe(evil);
  });

  it("may load nothing", () => {
    expect(html).toContain("default-src 'none'");
    expect(html).not.toMatch(/(src|href)="(https?:)?\/\//);
  });

  it("has the numbers of its chart in a table", () => expect(html).toContain('<td class="figure">-1</td>'));
});

describe("bins", () => {
  it("hold every pair once, the highest too", () => {
    const bins = binsOf([example(-1, false), example(0, true), example(3, true), example(3, false)]);
    expect(bins.reduce((sum, { relevant, others }) => sum + relevant + others, 0)).toBe(4);
    expect(bins.at(-1)).toMatchObject({ to: 3, relevant: 1, others: 1 });
    expect(bins[0]).toMatchObject({ from: -1, others: 1 });
  });

  it("are there for equal scores", () => {
    const [first] = binsOf([example(1, true), example(1, false)]);
    expect(first).toMatchObject({ relevant: 1, others: 1 });
  });
});

describe("thresholds", () => {
  const examples = [example(3, true), example(2, true), example(1, false), example(0, true)];

  it("mark the lowest of the wanted precision, or say that there is none", () => {
    expect(chooseStep(examples, 0.9)).toEqual({ score: 2, precision: 1, recall: 2 / 3 });
    expect(chooseStep([example(1, false), example(0, true)], 0.9)).toBeNull();
    expect(thresholdSection(examples, null, 0.9, "logit").note).toBe("No threshold reaches a precision of 90% on these pairs.");
  });

  it("are thinned to what can be told apart, ends kept", () => {
    const many = Array.from({ length: 5000 }, (_, i) => example(i / 7, i % 3 === 0));
    const { chart } = thresholdSection(many, null, 0.9, "logit");
    if (chart?.kind !== "thresholds") throw new Error(chart?.kind);
    expect(chart.steps).toHaveLength(400);
    expect(chart.steps[0]?.score).toBe(4999 / 7);
    expect(chart.steps.at(-1)?.score).toBe(0);
    expect(distributionSection(many, null, "logit").note).toContain("1667 relevant pairs and 3333 others");
  });
});

describe("--compare", () => {
  it("names layers, cascades and models", () => {
    expect(parseComparisons("16, 8:20,./m3-q8_0.gguf,v2-m3")).toEqual([
      { kind: "layer", layer: 16 },
      { kind: "cascade", layer: 8, keep: 20 },
      { kind: "model", model: "./m3-q8_0.gguf" },
      { kind: "model", model: "v2-m3" },
    ]);
    expect(() => parseComparisons("16,,8")).toThrow("empty entry");
  });
});
