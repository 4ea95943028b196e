// What a prebuilt addon must be, whoever asks: the build that makes it, and the release that publishes it.
import { readFileSync } from "node:fs";
import { readMachO } from "./mach-o.mjs";

const MAX_BYTES = 2_500_000;
// The oldest systems on which @node-llama-cpp's libraries run: RHEL 9, Ubuntu 22.04, Debian 12. The addon may not ask for more.
const FLOORS = { GLIBC: "2.34", GLIBCXX: "3.4.29", CXXABI: "1.3.13" };
const OLDEST_MACOS = "14.0"; // likewise

/** How each platform's addon begins: format and processor, as [offset, bytes in hex]. */
const MAGIC = {
  "linux-x64": [
    [0, "7f454c46020101"],
    [18, "3e00"],
  ],
  "linux-arm64": [
    [0, "7f454c46020101"],
    [18, "b700"],
  ],
  "win32-x64": [[0, "4d5a"]],
  "darwin-arm64": [[0, "cffaedfe0c000001"]],
  "darwin-x64": [[0, "cffaedfe07000001"]],
};

export const PLATFORMS = Object.keys(MAGIC);

/** What is wrong with an addon, in words. */
export function prebuildFaults(platform, file) {
  const bytes = readFileSync(file);
  const faults = MAGIC[platform]
    .map(([offset, wanted]) => [offset, wanted, bytes.subarray(offset, offset + wanted.length / 2).toString("hex")])
    .filter(([, wanted, found]) => found !== wanted)
    .map(([offset, wanted, found]) => `at ${offset} it has ${found}, not ${wanted}: it is not for ${platform}`);
  if (!bytes.includes("napi_register_module_v1")) faults.push("it does not export napi_register_module_v1");
  if (bytes.length > MAX_BYTES) faults.push(`it has ${bytes.length} bytes, more than ${MAX_BYTES}`);
  if (platform.startsWith("darwin-") && faults.length === 0) faults.push(...machOFaults(readMachO(bytes)));
  if (platform.startsWith("linux-")) faults.push(...versionFaults(bytes));
  return faults;
}

/** Symbol versions that the addon asks of the system's libraries, as its string table names them. */
function versionFaults(bytes) {
  const asked = [...bytes.toString("latin1").matchAll(/(GLIBCXX|GLIBC|CXXABI)_([0-9.]+)(?=\0)/g)];
  if (asked.length === 0) return ["it names no symbol versions"];
  const above = asked.filter(([, library, version]) => compareVersions(version, FLOORS[library]) > 0).map(([name]) => name);
  return above.length > 0 ? [`it needs ${[...new Set(above)].join(", ")}; the floor is ${JSON.stringify(FLOORS)}`] : [];
}

function machOFaults({ isBundle, bindsToWeak, isSigned, oldestSystem, libraries, exported, lookedUp }) {
  const isOurs = (name) => /^_(napi|node_api)_/.test(name);
  const list = (names) => names.join(", ");
  const foreign = libraries.filter((name) => !name.startsWith("/usr/lib/"));
  const wrong = [
    [!isBundle, "it is not a bundle"],
    // On an Apple processor unsigned code does not load. The linker signs, ad hoc; what strips the file afterwards would undo it.
    [!isSigned, "it is not signed"],
    [compareVersions(oldestSystem, OLDEST_MACOS) > 0, `it needs macOS ${oldestSystem}; the floor is ${OLDEST_MACOS}`],
    [foreign.length > 0, `it needs ${list(foreign)}, which macOS does not have`],
    [bindsToWeak, "it has symbols of its own looked up in other images"],
    [!exported.every(isOurs), `it exports ${list(exported.filter((name) => !isOurs(name)))}`],
    [!lookedUp.every(isOurs), `it does not define ${list(lookedUp.filter((name) => !isOurs(name)))}`],
  ];
  return wrong.filter(([is]) => is).map(([, fault]) => fault);
}

/** Below 0, 0 or above, as a version is older, the same or newer. */
export function compareVersions(a, b) {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number));
  for (let i = 0; i < Math.max(left.length, right.length); i++)
    if ((left[i] ?? 0) !== (right[i] ?? 0)) return (left[i] ?? 0) - (right[i] ?? 0);
  return 0;
}
