// Private copies of the ggml libraries: names, freshness, and which files are not trusted. Two versions in one process
// are tried with real libraries in e2e/hosts.test.ts.
import { spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { inPlace, privateCopies, privateRoots } from "../../src/addon/isolate.js";

let work = "";
let root = "";

const library = (name: string) => path.join(work, name);
const libraries = () => ({ folder: work, base: library("libggml-base.so"), ggml: library("libggml.v0.4.0.so") });

beforeEach(() => {
  work = mkdtempSync(path.join(tmpdir(), "bge-isolate-"));
  root = path.join(work, "cache");
  // As in the string table of an ELF file: names ending in NUL, here and there among other bytes.
  writeFileSync(library("libggml-base.so"), "\x7fELF base\0libm.so.6\0libggml-base.so\0code");
  writeFileSync(library("libggml.v0.4.0.so"), "\x7fELF\0libggml-base.so\0libc.so.6\0libggml.v0.4.0.so\0libggml-base.sound");
  writeFileSync(library("libggml-cpu-x64.so"), "\x7fELF\0libggml-base.so\0libggml-base.so\0more");
});

afterEach(() => {
  vi.restoreAllMocks();
  rmSync(work, { recursive: true, force: true });
});

describe("private copies", () => {
  it("replace the names of base and libggml, and nothing else, by names of equal length", () => {
    const copies = privateCopies(libraries(), root);
    const [base, ggml, cpu] = [copies.base, copies.ggml, copies.module(library("libggml-cpu-x64.so"))];
    const [baseName, ggmlName] = [path.basename(base), path.basename(ggml)];
    expect(baseName).toMatch(/^libbge[0-9a-f]{6}\.so$/);
    expect(ggmlName).toMatch(/^libbge[0-9a-f]{8}\.so$/);
    expect(readFileSync(base, "latin1")).toBe(`\x7fELF base\0libm.so.6\0${baseName}\0code`);
    expect(readFileSync(ggml, "latin1")).toBe(`\x7fELF\0${baseName}\0libc.so.6\0${ggmlName}\0libggml-base.sound`);
    expect(readFileSync(cpu, "latin1")).toBe(`\x7fELF\0${baseName}\0${baseName}\0more`);
  });

  it("have one folder for each build, whatever project it is installed in", () => {
    const first = privateCopies(libraries(), root);
    expect(privateCopies(libraries(), root)).toMatchObject({ base: first.base, ggml: first.ggml });
    writeFileSync(library("libggml-base.so"), "\x7fELF newer\0libggml-base.so\0code");
    const second = privateCopies(libraries(), root);
    expect(path.dirname(second.base)).not.toBe(path.dirname(first.base));
    expect(path.basename(second.base)).not.toBe(path.basename(first.base));
  });

  it("keep modules apart that share a name", () => {
    const copies = privateCopies(libraries(), root);
    const [main, fallback] = ["cuda", "cuda/fallback"].map((folder) => path.join(work, folder, "libggml-cuda.so")) as [string, string];
    for (const file of [main, fallback]) {
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, `libggml-base.so\0${file}`);
    }
    expect(copies.module(main)).not.toBe(copies.module(fallback));
  });

  it("are made once, and again when the original is newer and differs", () => {
    const file = library("libggml-cpu-x64.so");
    const copy = privateCopies(libraries(), root).module(file);
    const made = lstatSync(copy).ino;
    privateCopies(libraries(), root).module(file);
    expect(lstatSync(copy).ino).toBe(made);

    const later = new Date(Date.now() + 5000);
    utimesSync(file, later, later); // installed again: newer, the same bytes
    privateCopies(libraries(), root).module(file);
    expect(lstatSync(copy).ino).toBe(made);

    writeFileSync(file, readFileSync(file, "latin1").replace("more", "less"), "latin1");
    utimesSync(file, later, later);
    privateCopies(libraries(), root).module(file);
    expect(readFileSync(copy, "latin1")).toMatch(/less$/);
  });

  it("replace a file that is cut short, and a link put in its place", () => {
    const { base } = privateCopies(libraries(), root);
    const whole = readFileSync(base);
    truncateSync(base, 5);
    privateCopies(libraries(), root);
    expect(readFileSync(base)).toEqual(whole);

    const victim = library("victim");
    writeFileSync(victim, "x".repeat(whole.length));
    rmSync(base);
    symlinkSync(victim, base);
    privateCopies(libraries(), root);
    expect(lstatSync(base).isSymbolicLink()).toBe(false);
    expect(readFileSync(base)).toEqual(whole);
    expect(readFileSync(victim, "latin1")).toMatch(/^x+$/);
  });

  it.skipIf(!process.getuid)("do not use what another user owns or others may write (no such owners on Windows)", () => {
    privateCopies(libraries(), root);
    vi.spyOn(process, "getuid").mockReturnValue((process.getuid?.() ?? 0) + 1);
    expect(() => privateCopies(libraries(), root)).toThrow(/belongs to another user/);
    vi.restoreAllMocks();

    chmodSync(root, 0o777);
    expect(() => privateCopies(libraries(), root)).toThrow(/others may write/);
    chmodSync(root, 0o700);

    const { base } = privateCopies(libraries(), root);
    const changed = readFileSync(base, "latin1").replace("code", "evil");
    writeFileSync(base, changed, "latin1");
    chmodSync(base, 0o666);
    privateCopies(libraries(), root);
    expect(readFileSync(base, "latin1")).not.toBe(changed);

    const elsewhere = library("elsewhere");
    symlinkSync(root, elsewhere);
    expect(() => privateCopies(libraries(), elsewhere)).toThrow(/is not a folder/);
  });

  it("refuse libraries that do not name each other as expected, and leave no draft", () => {
    writeFileSync(library("libggml.v0.4.0.so"), "\x7fELF\0libggml-base.so.1\0");
    expect(() => privateCopies(libraries(), root)).toThrow(/does not refer to libggml-base\.so/);
    const files = readdirSync(root, { recursive: true }) as string[];
    expect(files.filter((file) => /\.so\./.test(file))).toEqual([]);
  });

  it("come out whole when several processes make them at once", async () => {
    writeFileSync(library("libggml-base.so"), Buffer.concat([Buffer.from("libggml-base.so\0"), Buffer.alloc(4 << 20, 7)]));
    const program = `import { privateCopies } from ${JSON.stringify(fileURLToPath(new URL("../../lib/addon/isolate.js", import.meta.url)))};
      import { readFileSync } from "node:fs";
      const { base } = privateCopies(${JSON.stringify(libraries())}, ${JSON.stringify(root)});
      process.exit(readFileSync(base).length === ${16 + (4 << 20)} ? 0 : 3);`;
    const start = () => spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: "inherit" });
    const codes = await Promise.all([1, 2, 3, 4].map(() => new Promise((resolve) => start().once("exit", resolve))));
    expect(codes).toEqual([0, 0, 0, 0]);
    const [folder] = readdirSync(root) as [string];
    expect(readdirSync(path.join(root, folder))).toHaveLength(2);
  });

  it("are looked for in the user's cache, then in the temporary folder", () => {
    vi.stubEnv("XDG_CACHE_HOME", path.join(work, "xdg"));
    vi.stubEnv("LOCALAPPDATA", path.join(work, "xdg"));
    const roots = privateRoots();
    expect(roots).toHaveLength(2);
    expect(roots[1]?.startsWith(tmpdir())).toBe(true);
    expect(existsSync(roots[0] ?? "")).toBe(false);
    vi.unstubAllEnvs();
  });
});

describe("libraries in place", () => {
  it("are the installed files", () => {
    const { base, ggml } = libraries();
    const placed = inPlace(libraries());
    expect(placed).toMatchObject({ base, ggml });
    expect(placed.module(base)).toBe(base);
  });
});
