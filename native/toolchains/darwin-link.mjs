// Launches the link commands of darwin.cmake. Bundles are linked by LLVM's ld64.lld with the libraries that zig brings: zig's
// own linker makes no bundles, and has hidden weak symbols, such as the type infos in catch clauses, looked up in other images.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const [zig, ...args] = process.argv.slice(2);
const valueOf = (name) => args[args.indexOf(name) + 1];
const folder = mkdtempSync(path.join(tmpdir(), "bge-link-"));
try {
  process.exitCode = args.includes("-bundle") ? linkBundle(valueOf("-target")) : run(zig, args);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function run(program, args) {
  return spawnSync(program, args, { stdio: "inherit" }).status ?? 1;
}

function linkBundle(target) {
  const [, processor, version] = /^(\w+)-macos\.([\d.]+)$/.exec(target);
  return run(process.env.BGE_LLD, [
    ...["-arch", processor === "aarch64" ? "arm64" : processor, "-platform_version", "macos", version, version],
    ...["-bundle", "-o", valueOf("-o"), "-undefined", "dynamic_lookup", "-adhoc_codesign", "-dead_strip", "-x", "-S"],
    ...["_napi_register_module_v1", "_node_api_module_get_api_version_v1"].flatMap((name) => ["-exported_symbol", name]),
    ...args.filter((arg) => /\.(o|a)$/.test(arg)),
    systemLibrary(), // ahead of zig's runtime, which has slow copies of memcpy and others
    ...zigLibraries(target),
  ]);
}

/** zig's libc++ and runtime for the target, built when they are first asked for: those of any C++ program. */
function zigLibraries(target) {
  const source = path.join(folder, "empty.cpp");
  writeFileSync(source, "int main() {}\n");
  const { stderr } = spawnSync(zig, ["c++", "-target", target, source, "-o", path.join(folder, "empty")], {
    encoding: "utf8",
    env: { ...process.env, ZIG_VERBOSE_LINK: "1" },
  });
  const found = stderr.match(/\S+\/lib(c\+\+|c\+\+abi|compiler_rt)\.a/g);
  if (found?.length !== 3) throw new Error(`zig does not say what it links with: ${stderr}`);
  return found.map((file) => path.resolve(file));
}

/** The list of what macOS itself exports, without the processors that the linker is too old for. */
function systemLibrary() {
  const { stdout } = spawnSync(zig, ["env"], { encoding: "utf8" });
  const zigFiles = /lib_dir\W+"([^"]+)"/.exec(stdout)[1];
  const list = readFileSync(path.join(zigFiles, "libc", "darwin", "libSystem.tbd"), "utf8");
  const copy = path.join(folder, "libSystem.tbd");
  writeFileSync(copy, list.replace(/arm64e\.\w+-\w+,?/g, "").replace(/,(\s*\])/g, "$1"));
  return copy;
}
