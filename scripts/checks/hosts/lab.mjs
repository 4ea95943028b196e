// Where the hosts are tried: the packed tarball, a model with its reference scores, applications in a temporary folder,
// and the hosts themselves, which npm supplies as ordinary packages (kept in build/hosts between runs).
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
const golden = path.join(root, "test", "golden");
const checkpoint = path.join(golden, "xlmr-m3-reranker");
const windows = process.platform === "win32";

const { tolerance } = JSON.parse(readFileSync(path.join(golden, "checkpoints.json"), "utf8")).find(
  ({ name }) => name === path.basename(checkpoint),
);

/** Thrown where a host cannot be had here; the reason is printed. */
export class Skip extends Error {}

export class Lab {
  constructor() {
    this.folder = realpathSync(mkdtempSync(path.join(tmpdir(), "bge-hosts-")));
    this.cache = path.join(this.folder, "cache");
    this.model = path.join(this.folder, "model.gguf");
    this.cases = path.join(this.folder, "cases.json");
  }

  /** Takes a packed tarball, or packs one, and has its own command line convert the model. */
  prepare(tarball) {
    if (tarball) this.tarball = path.resolve(tarball);
    else {
      const [packed] = JSON.parse(this.npm(["pack", "--json", "--silent", "--pack-destination", this.folder], { cwd: root }));
      this.tarball = path.join(this.folder, packed.filename);
    }
    const cli = path.join(this.npmApp(), "node_modules", "bge-reranker", "lib", "cli.js");
    this.run(process.execPath, [cli, "convert", checkpoint, "-o", this.model, "--outtype", "f32"]);
    const { cases } = JSON.parse(readFileSync(path.join(checkpoint, "cases.json"), "utf8"));
    writeFileSync(this.cases, JSON.stringify(cases.filter(({ id }) => id === "basic" || id === "multilingual")));
  }

  remove() {
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Runs a command; its stdout, or an Error with the end of what it said. */
  run(command, args, { cwd = this.folder, env = {}, shell = false } = {}) {
    const { status, signal, stdout, stderr, error } = spawnSync(command, args, {
      cwd,
      env: { ...process.env, XDG_CACHE_HOME: this.cache, ...env },
      encoding: "utf8",
      timeout: 600_000,
      maxBuffer: 64 << 20,
      shell,
    });
    if (error) throw error;
    if (status === 0) return stdout;
    const said = `${stdout}\n${stderr}`.trim().split("\n").slice(-8).join("\n");
    throw new Error(`${path.basename(command)} ${path.basename(args[0] ?? "")} ended with ${status ?? signal}: ${said}`);
  }

  npm(args, options) {
    return this.run("npm", [...args, "--no-audit", "--no-fund", "--loglevel=error"], { ...options, shell: windows });
  }

  /** An application's folder with the programs in it. */
  app(name) {
    const folder = path.join(this.folder, name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, "package.json"), JSON.stringify({ name: "app", private: true }));
    this.addPrograms(folder);
    return folder;
  }

  addPrograms(folder) {
    const here = path.join(root, "scripts", "checks", "hosts");
    for (const name of readdirSync(here)) if (!/^(lab|combinations)/.test(name)) cpSync(path.join(here, name), path.join(folder, name));
  }

  /** The application that npm made, shared by all hosts that only run it. */
  npmApp() {
    if (!this.installed) {
      this.installed = this.app("npm");
      this.npm(["install", this.tarball], { cwd: this.installed });
    }
    return this.installed;
  }

  /** Runs one of the programs and returns what it printed, its scores checked. */
  score(command, args, options) {
    const answer = JSON.parse(
      this.run(command, [...args, ...(options.programArgs ?? [])], options)
        .trim()
        .split("\n")
        .at(-1),
    );
    if (!(answer.difference <= tolerance)) throw new Error(`scores differ by ${answer.difference} from the reference`);
    return answer;
  }

  /** The folder of an npm package without dependencies that brings a host's executable or libraries. */
  tool(name, version) {
    return this.#kept(name, version, (folder) => {
      const [packed] = JSON.parse(this.npm(["pack", `${name}@${version}`, "--json", "--silent"], { cwd: folder }));
      const tarball = packed.filename.replace(/^@/, "").replace("/", "-");
      const target = path.join(folder, "node_modules", name);
      mkdirSync(target, { recursive: true });
      this.run("tar", ["-xzf", tarball, "--strip-components=1", "-C", target], { cwd: folder });
      rmSync(path.join(folder, tarball));
    });
  }

  /** The same for a package with dependencies. Neither optional ones nor scripts. */
  toolWithDependencies(name, version) {
    return this.#kept(name, version, (folder) => {
      writeFileSync(path.join(folder, "package.json"), JSON.stringify({ name: "tool", private: true }));
      this.npm(["install", "--ignore-scripts", "--omit=optional", `${name}@${version}`], { cwd: folder });
    });
  }

  #kept(name, version, fetch) {
    const folder = path.join(root, "build", "hosts", `${name.replace("/", "+")}@${version}`);
    const whole = path.join(folder, "whole");
    const installed = path.join(folder, "node_modules", name);
    if (existsSync(whole)) return installed;
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    try {
      fetch(folder);
    } catch (error) {
      const reason = error.message.split("\n").find((line) => /npm (error|ERR!)/.test(line)) ?? error.message;
      throw new Skip(`${name}@${version} cannot be had from npm: ${reason}`);
    }
    writeFileSync(whole, "");
    return installed;
  }
}

export const versionOf = (folder) => JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8")).version;
