// The table of hosts. `run` returns the version of the host or another remark, throws when the host fails, and throws
// Skip when it cannot be had here. `quick` ones need little from the network and run with the tests.
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Skip, versionOf } from "./lab.mjs";

const manifest = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"));
const pinned = manifest.ggml.prebuilt;
const { platform, arch } = process;
// Another ggml than ours: 0.25.1 where it is published, else an older one.
const otherVersion = platform === "linux" ? "3.22.1" : "3.20.0";
const windows = platform === "win32";
const cpuPackage = Object.keys(manifest.optionalDependencies).find((name) =>
  name.startsWith(`@node-llama-cpp/${{ linux: "linux", darwin: "mac", win32: "win" }[platform]}-${arch}`),
);

// --- hosts ----------------------------------------------------------------------------------------

function nodeOf(version) {
  return (lab) => {
    const folder = lab.tool(`node-${windows ? "win" : platform}-${arch}`, version);
    return { command: path.join(folder, "bin", windows ? "node.exe" : "node"), flags: [], version: versionOf(folder) };
  };
}

function thisNode() {
  return { command: process.execPath, flags: [], version: process.versions.node };
}

function bun(lab) {
  const system = { linux: "linux", darwin: "darwin", win32: "windows" }[platform];
  const folder = lab.tool(`@oven/bun-${system}-${arch === "arm64" ? "aarch64" : arch}`, "latest");
  return { command: path.join(folder, "bin", windows ? "bun.exe" : "bun"), flags: [], version: versionOf(folder) };
}

function deno(lab) {
  const folder = lab.tool(`@deno/${platform}-${arch}${platform === "linux" ? "-glibc" : ""}`, "latest");
  const command = [path.join(folder, "deno.exe"), path.join(folder, "deno")].find((file) => existsSync(file));
  if (!command) throw new Error(`no deno in ${folder}`);
  return { command, flags: ["run", "-A", "--node-modules-dir=manual"], version: versionOf(folder) };
}

function onHost(area, name, host, program, how, quick = false) {
  return {
    area,
    name,
    how: `${program}: ${how}`,
    quick,
    run(lab) {
      const { command, flags, version } = host(lab);
      lab.score(command, [...flags, program, lab.model, lab.cases], { cwd: lab.npmApp(), env: { DENO_NO_UPDATE_CHECK: "1" } });
      return version;
    },
  };
}

const programs = {
  "score.mjs": "ESM import, 31 reference scores, rerank",
  "score.cjs": "CommonJS require, 31 reference scores",
  "workers.mjs": "three worker threads at once, one terminated in mid-job",
  "child.mjs": "a child process beside its parent, one that exits in mid-job",
};

const hosts = [
  ["Node, this one", thisNode, true],
  ["Node 20.19.0, the oldest", nodeOf("20.19.0")],
  ["Node 20", nodeOf("20")],
  ["Node 22", nodeOf("22")],
  ["Node 24", nodeOf("24")],
  ["Node, newest", nodeOf("latest")],
  ["Bun", bun],
  ["Deno", deno],
].flatMap(([name, host, quick]) => Object.entries(programs).map(([program, how]) => onHost("runtime", name, host, program, how, quick)));

// --- package managers -----------------------------------------------------------------------------

function scoreWithNode(lab, cwd, options = {}) {
  return lab.score(process.execPath, ["score.mjs", lab.model, lab.cases], { cwd, ...options });
}

function yarnApp(lab, linker) {
  const folder = lab.tool("@yarnpkg/cli-dist", "4");
  const yarn = path.join(folder, "bin", "yarn.js");
  const app = lab.app(`yarn-${linker}`);
  const settings = [`nodeLinker: ${linker}`, "enableGlobalCache: false", "enableTelemetry: false", "enableScripts: false"];
  writeFileSync(path.join(app, ".yarnrc.yml"), settings.join("\n"));
  writeFileSync(path.join(app, "yarn.lock"), "");
  lab.run(process.execPath, [yarn, "add", `bge-reranker@file:${lab.tarball}`], { cwd: app });
  return { app, yarn, version: versionOf(folder) };
}

const managers = [
  {
    name: "npm",
    how: "npm install TARBALL",
    quick: true,
    run(lab) {
      scoreWithNode(lab, lab.npmApp());
      return lab.npm(["--version"]).trim();
    },
  },
  {
    name: "pnpm",
    how: "pnpm add TARBALL: symlinked store",
    run(lab) {
      const folder = lab.tool("pnpm", "10");
      const app = lab.app("pnpm");
      const store = ["--store-dir", path.join(lab.folder, "pnpm-store")];
      lab.run(process.execPath, [path.join(folder, "bin", "pnpm.cjs"), "add", lab.tarball, ...store], { cwd: app });
      scoreWithNode(lab, app);
      return versionOf(folder);
    },
  },
  {
    name: "yarn, node-modules",
    how: "yarn add TARBALL, nodeLinker: node-modules",
    run(lab) {
      const { app, version } = yarnApp(lab, "node-modules");
      scoreWithNode(lab, app);
      return version;
    },
  },
  {
    name: "yarn, Plug'n'Play",
    how: "yarn add TARBALL, nodeLinker: pnp; yarn node",
    run(lab) {
      const { app, yarn, version } = yarnApp(lab, "pnp");
      lab.score(process.execPath, [yarn, "node", "score.mjs", lab.model, lab.cases], { cwd: app });
      return version;
    },
  },
  {
    name: "bun install",
    how: "bun add TARBALL; Node runs it",
    run(lab) {
      const { command, version } = bun(lab);
      const app = lab.app("bun");
      lab.run(command, ["add", lab.tarball], { cwd: app, env: { BUN_INSTALL_CACHE_DIR: path.join(lab.folder, "bun-cache") } });
      scoreWithNode(lab, app);
      return version;
    },
  },
].map((manager) => ({ area: "package manager", ...manager }));

// --- another ggml in the process --------------------------------------------------------------------

// What npm makes of an application that needs node-llama-cpp too: one set of libraries at the top, and our own below
// us when theirs are of another version. Put together from two installs, since node-llama-cpp with its optional
// packages is 700 MB.
function besideApp(lab, name, theirs, fromTop) {
  const app = lab.app(name);
  for (const folder of theirs) cpSync(folder, path.join(app, "node_modules"), { recursive: true });
  const ours = path.join(app, "node_modules", "bge-reranker");
  cpSync(path.join(lab.npmApp(), "node_modules", "bge-reranker"), ours, { recursive: true });
  for (const dependency of ["commander", ...(fromTop ? [] : [cpuPackage])]) {
    cpSync(path.join(lab.npmApp(), "node_modules", dependency), path.join(ours, "node_modules", dependency), { recursive: true });
  }
  return app;
}

const nodeModulesOf = (packageFolder, name) => path.resolve(packageFolder, ...name.split("/").map(() => ".."));

function besideNodeLlamaCpp(version, first) {
  return {
    area: "beside node-llama-cpp",
    name: `node-llama-cpp ${version}${version === pinned ? " (the same ggml)" : ""}, ${first} first`,
    how: "beside.mjs: both rank, each again after the other",
    run(lab) {
      const js = lab.toolWithDependencies("node-llama-cpp", version);
      const libraries = lab.tool(cpuPackage, version);
      const app = besideApp(
        lab,
        `beside-${version}-${first}`,
        [nodeModulesOf(js, "node-llama-cpp"), nodeModulesOf(libraries, cpuPackage)],
        version === pinned,
      );
      const { bases } = scoreBeside(lab, app, ["beside.mjs", lab.model, lab.cases, first]);
      const wanted = version === pinned && first === "theirs" ? 1 : 2;
      return countBases(bases, wanted);
    },
  };
}

function scoreBeside(lab, cwd, args) {
  return lab.score(process.execPath, args, { cwd });
}

function countBases(bases, wanted) {
  if (platform === "linux" && bases.length !== wanted)
    throw new Error(`${wanted} libggml-base expected in the process: ${bases.join(", ")}`);
  return wanted === 1 ? "one libggml-base, shared" : "each on its own libggml-base";
}

function besideAddon(first) {
  return {
    area: "beside node-llama-cpp",
    name: `the libraries of ${otherVersion}, ${first} first`,
    how: "beside-addon.mjs: they tokenise, we score, each again after the other",
    quick: true,
    run(lab) {
      const addon = addonOf(lab.tool(cpuPackage, otherVersion));
      const { bases } = scoreBeside(lab, lab.npmApp(), ["beside-addon.mjs", lab.model, lab.cases, first, addon]);
      return countBases(bases, 2);
    },
  };
}

const addonOf = (folder) => path.join(folder, "bins", readdirSync(path.join(folder, "bins"))[0], "llama-addon.node");

// A file as a folder: nothing can be made below it, not even by root.
function nowhere(lab) {
  const folder = path.join(lab.cases, "x");
  return { XDG_CACHE_HOME: folder, LOCALAPPDATA: folder, TMPDIR: folder, TEMP: folder, TMP: folder };
}

const beside = [
  besideAddon("theirs"),
  besideAddon("ours"),
  {
    area: "beside node-llama-cpp",
    name: `the libraries of ${otherVersion} first, and no folder to write to`,
    how: "beside-addon.mjs: refused with GGML_VERSION, not run on the wrong base",
    quick: true,
    run(lab) {
      if (platform === "darwin") throw new Skip("macOS needs no private copies");
      const args = ["beside-addon.mjs", lab.model, lab.cases, "theirs", addonOf(lab.tool(cpuPackage, otherVersion))];
      try {
        lab.run(process.execPath, args, { cwd: lab.npmApp(), env: nowhere(lab) });
      } catch (error) {
        if (/GGML_VERSION/.test(error.message)) return "refused";
        throw error;
      }
      throw new Error("expected a refusal");
    },
  },
  ...[pinned, otherVersion].flatMap((version) => ["theirs", "ours"].map((first) => besideNodeLlamaCpp(version, first))),
];

// --- places -----------------------------------------------------------------------------------------

const places = [
  {
    name: "app.asar with app.asar.unpacked",
    how: "Electron's layout as plain folders, binaries only in the unpacked one",
    quick: true,
    run(lab) {
      const resources = path.join(lab.folder, "resources");
      const isBinary = (file) => /\.(node|so|dll|dylib)$/.test(file);
      const modules = path.join(lab.npmApp(), "node_modules");
      const packed = path.join(resources, "app.asar");
      cpSync(modules, path.join(packed, "node_modules"), { recursive: true, filter: (file) => !isBinary(file) });
      cpSync(modules, path.join(resources, "app.asar.unpacked", "node_modules"), { recursive: true });
      lab.addPrograms(packed);
      // Packaged applications are started from anywhere.
      lab.score(process.execPath, [path.join(packed, "score.mjs"), lab.model, lab.cases], { cwd: lab.folder });
    },
  },
  {
    name: "spaces and letters beyond ASCII in all paths",
    how: "application, model and cache folder",
    quick: true,
    run(lab) {
      const app = path.join(lab.folder, "an app für 熊猫");
      cpSync(lab.npmApp(), app, { recursive: true });
      cpSync(lab.model, path.join(app, "modèle 熊.gguf"));
      const env = { XDG_CACHE_HOME: path.join(app, "mémoire cache") };
      lab.score(process.execPath, ["score.mjs", "modèle 熊.gguf", lab.cases], { cwd: app, env });
    },
  },
  {
    name: "no folder to write to",
    how: "cache and temporary folder cannot be made; libraries used as installed",
    quick: true,
    run(lab) {
      scoreWithNode(lab, lab.npmApp(), { env: nowhere(lab) });
    },
  },
  {
    name: "two installations in one process",
    how: "twice.mjs: two copies of the package score at once",
    quick: true,
    run(lab) {
      const second = path.join(lab.folder, "second");
      cpSync(path.join(lab.npmApp(), "node_modules"), path.join(second, "node_modules"), { recursive: true });
      const entry = path.join(second, "node_modules", "bge-reranker", "lib", "index.js");
      lab.score(process.execPath, ["twice.mjs", lab.model, lab.cases, entry], { cwd: lab.npmApp() });
      rmSync(second, { recursive: true });
    },
  },
].map((place) => ({ area: "place", ...place }));

export const combinations = [...managers, ...hosts, ...beside, ...places];
