// Whether the prebuilt files run here, and mistakes in calls of `bge-reranker build`. The compilation itself takes minutes.
import { afterEach, describe, expect, it, vi } from "vitest";
import { glibcVersion, whyNotPrebuilt } from "../../src/addon/addon-files.js";
import { run } from "../../src/cli/program.js";

afterEach(() => {
  vi.restoreAllMocks();
});

describe.skipIf(process.platform !== "linux")("the C library of Linux", () => {
  const withGlibc = (glibcVersionRuntime: string | undefined) =>
    vi.spyOn(process.report as NodeJS.ProcessReport, "getReport").mockReturnValue({ header: { glibcVersionRuntime } } as never);

  it.each(["2.34", "2.36", "2.100", "3.0"])("glibc %s is new enough", (version) => {
    withGlibc(version);
    expect(whyNotPrebuilt()).toBeUndefined();
  });

  it.each(["2.33", "2.5", "1.99"])("glibc %s is too old", (version) => {
    withGlibc(version);
    expect(whyNotPrebuilt()).toBe(`this system has glibc ${version}, and they need 2.34`);
  });

  it("another one than glibc is told", () => {
    withGlibc(undefined);
    expect(whyNotPrebuilt()).toMatch(/musl/);
  });

  it("is found without asking the network, and leaves that setting as it was", () => {
    const report = process.report as NodeJS.ProcessReport & { excludeNetwork?: boolean };
    const before = report.excludeNetwork;
    const spy = vi.spyOn(report, "getReport").mockImplementation(() => {
      expect(report.excludeNetwork).toBe(true);
      return { header: { glibcVersionRuntime: "2.36" } } as never;
    });
    expect(glibcVersion()).toBe("2.36");
    expect(spy).toHaveBeenCalledOnce();
    expect(report.excludeNetwork).toBe(before);
  });
});

describe("bge-reranker build", () => {
  it.each([
    ["--ggml", "other"],
    ["--jobs", "0"],
    ["--jobs", "many"],
  ])("refuses %s %s", async (...args) => {
    const err = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    expect(await run(["node", "bge-reranker", "build", ...args])).toBe(2);
    expect(err.mock.calls.map(([text]) => text).join("")).toContain(args[0]);
  });
});
