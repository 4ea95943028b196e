// What must hold before npm publish, each point checked on the files that would be published.
//   node scripts/release/release-check.mjs [TARBALL]
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { compareVersions, PLATFORMS, prebuildFaults } from "./prebuild-faults.mjs";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const windows = process.platform === "win32";
const ATTW = "@arethetypeswrong/cli@0.18.5"; // fetched by npx: nobody else needs its hundred dependencies
const MAX_JS_BYTES = 150_000; // gzipped, as it travels

const work = mkdtempSync(path.join(tmpdir(), "bge-release-"));
process.once("exit", () => rmSync(work, { recursive: true, force: true }));
const read = (...parts) => readFileSync(path.join(...parts), "utf8");
const npm = (...args) =>
  execFileSync("npm", [...args, "--silent"], { cwd: root, encoding: "utf8", shell: windows, stdio: ["ignore", "pipe", "inherit"] });

const given = process.argv[2];
const tarball = given ? path.resolve(given) : path.join(work, JSON.parse(npm("pack", "--json", "--pack-destination", work))[0].filename);
// Relative, because a drive letter reads as a host name to some tars.
execFileSync("tar", ["-xzf", path.relative(work, tarball)], { cwd: work });
const folder = path.join(work, "package");
const files = readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)).split(path.sep).join("/"));
const manifest = JSON.parse(read(folder, "package.json"));
const options = { cwd: root, encoding: "utf8", shell: windows };

// Each gives the list of what is wrong.
const checks = {
  "publint finds nothing": () => said(spawnSync("npx", ["--no-install", "publint", "--strict", tarball], options)),

  "the types resolve as the code does": () => {
    // The package is ESM alone: CommonJS gets it by require(esm), which every Node we support has.
    const result = spawnSync(
      "npx",
      ["--yes", ATTW, tarball, "--profile", "esm-only", "--format", "ascii", "--no-color", "--no-emoji"],
      options,
    );
    return said(result);
  },

  "five prebuilt addons, of the right format and size": () =>
    PLATFORMS.flatMap((platform) => {
      const name = `prebuilds/${platform}/node.napi.node`;
      if (!files.includes(name)) return [`${name} is missing`];
      return prebuildFaults(platform, path.join(folder, name)).map((fault) => `${name}: ${fault}`);
    }),

  "no more prebuilt addons than those": () =>
    files
      .filter((file) => file.startsWith("prebuilds/") && !PLATFORMS.includes(file.split("/")[1]))
      .map((file) => `${file} is not among the five`),

  "nothing runs or builds at install": () => [
    ...["preinstall", "install", "postinstall", "prepare"]
      .filter((name) => name in (manifest.scripts ?? {}))
      .map((name) => `package.json has the script ${name}`),
    ...files.filter((file) => /(^|\/)binding\.gyp$/.test(file)).map((file) => `${file} is in the package`),
    ...(manifest.gypfile === false ? [] : ["package.json lacks gypfile: false"]),
  ],

  "JavaScript below its size budget": () => {
    const bytes = gzipSync(
      Buffer.concat(files.filter((file) => /\.[cm]?js$/.test(file)).map((file) => readFileSync(path.join(folder, file)))),
    );
    return bytes.length > MAX_JS_BYTES ? [`${bytes.length} bytes gzipped, over ${MAX_JS_BYTES}`] : [];
  },

  "source maps only with their sources": () =>
    files
      .filter((file) => /\.([cm]?js|ts)$/.test(file))
      .flatMap((file) => {
        const map = /^\/\/# sourceMappingURL=(?!data:)(.+)$/m.exec(read(folder, file))?.[1];
        if (!map) return [];
        const at = path.posix.join(path.posix.dirname(file), map);
        if (!files.includes(at)) return [`${file} names ${at}, which is not packed`];
        const { sources, sourcesContent } = JSON.parse(read(folder, at));
        const packedSource = (source, i) => sourcesContent?.[i] ?? files.includes(path.posix.join(path.posix.dirname(at), source));
        return sources.every(packedSource) ? [] : [`${at} names sources that are not packed`];
      }),

  "licence and notices of all that is inside": () => [
    ...["LICENSE", "THIRD-PARTY-NOTICES.md"].filter((file) => !files.includes(file)).map((file) => `${file} is missing`),
    ...missingNotices(),
  ],

  "version, changelog and lockfile agree": () => {
    const heading = read(root, "CHANGELOG.md").match(/^## (.+)$/m)?.[1] ?? "nothing";
    const locked = JSON.parse(read(root, "package-lock.json")).packages[""].version;
    return [
      ...(heading.replace(/ \(\d{4}-\d\d-\d\d\)$/, "") === manifest.version && heading !== manifest.version
        ? []
        : [`CHANGELOG.md begins with "${heading}"; expected "${manifest.version} (YYYY-MM-DD)"`]),
      ...(locked === manifest.version ? [] : [`package-lock.json says ${locked}, package.json ${manifest.version}`]),
    ];
  },

  "engines agree with the dependencies, the README and CI": () => {
    const oldest = /^>=(\d+(?:\.\d+)*)$/.exec(manifest.engines?.node ?? "")?.[1];
    if (!oldest) return [`engines.node is ${manifest.engines?.node}; expected >=VERSION`];
    const dependencies = Object.keys(manifest.dependencies).flatMap((name) => {
      const wanted = JSON.parse(read(root, "node_modules", name, "package.json")).engines?.node;
      const least = /^>=\s*v?([\d.]+)$/.exec(wanted ?? ">=0")?.[1];
      return least && compareVersions(least, oldest) <= 0 ? [] : [`${name} wants Node ${wanted}`];
    });
    return [
      ...dependencies,
      ...(read(root, "README.md").includes(`Node ${oldest}`) ? [] : [`README.md does not say Node ${oldest}`]),
      ...(read(root, ".github/workflows/ci.yml").includes(`${oldest}.0`) ? [] : [`ci.yml does not test Node ${oldest}.0`]),
    ];
  },

  "ggml packages pinned to one version": () =>
    Object.entries({ ...manifest.optionalDependencies, ...manifest.peerDependencies })
      .filter(([, version]) => version !== manifest.ggml.prebuilt)
      .map(([name, version]) => `${name} is ${version}; expected ${manifest.ggml.prebuilt}`),

  "provenance can be proved": () =>
    /github\.com/.test(manifest.repository?.url ?? "")
      ? []
      : ['package.json has no "repository" with the GitHub URL, without which npm publish --provenance is refused'],
};

function said({ status, stdout, stderr, error }) {
  if (status === 0) return [];
  return [error?.message ?? `${stdout}\n${stderr}`.trim()];
}

/** What is inside the package and must be named, with its licence, in THIRD-PARTY-NOTICES.md. */
function missingNotices() {
  const notices = read(root, "THIRD-PARTY-NOTICES.md");
  const contains = (word) =>
    PLATFORMS.some((platform) => {
      const file = path.join(folder, "prebuilds", platform, "node.napi.node");
      return existsSync(file) && readFileSync(file).includes(word);
    });
  const wanted = [
    { what: "ggml headers", words: ["The ggml authors", read(root, "native/ggml/LICENSE").match(/Copyright.*/)[0]] },
    { what: "node-addon-api, compiled into the addon", words: ["node-addon-api", "Node.js API collaborators"] },
    {
      what: "Unicode data",
      words: existsSync(path.join(root, "native/tokenizer/unicode-tables.cpp")) ? ["UNICODE LICENSE V3", "Unicode, Inc."] : [],
    },
    {
      what: "the MinGW-w64 runtime in the Windows addon",
      words: contains("Mingw-w64") || contains("libwinpthread") ? ["mingw-w64", "winpthreads"] : [],
    },
    {
      what: "the C++ library in the macOS addons",
      words: contains("libc++abi") ? ["Apache License 2.0 with LLVM Exceptions", "Zig contributors"] : [],
    },
    ...modelsInside().map((name) => ({ what: `the model ${name}`, words: [name] })),
  ];
  return wanted.flatMap(({ what, words }) =>
    words.filter((word) => !notices.includes(word)).map((word) => `THIRD-PARTY-NOTICES.md lacks "${word}" for ${what}`),
  );
}

function modelsInside() {
  const models = path.join(folder, "models");
  return existsSync(models) ? readdirSync(models).filter((name) => name.endsWith(".gguf")) : [];
}

let failed = 0;
for (const [title, check] of Object.entries(checks)) {
  const wrong = check();
  failed += wrong.length > 0 ? 1 : 0;
  console.log(`${wrong.length > 0 ? "FAIL" : "ok  "}  ${title}`);
  for (const line of wrong) console.log(`      ${line.replaceAll("\n", "\n      ")}`);
}
console.log(`${path.basename(tarball)}: ${files.length} files, ${statSync(tarball).size} bytes; ${failed || "nothing"} to fix`);
process.exitCode = failed > 0 ? 1 : 0;
