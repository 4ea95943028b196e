// Loads one GPU module and asks its devices what they are. Run as a process of its own by gpu-modules.ts, since a driver
// may crash: node gpu-probe.js MODULE [LIBRARY...]
import { loadNative } from "./native.js";

const [module = "", ...libraries] = process.argv.slice(2);
try {
  const addon = loadNative();
  const failed = libraries.map((file) => addon.preload(file)).find((error) => error !== "");
  if (failed) throw new Error(failed);
  addon.loadModule(module);
  addon.devices();
} catch (error) {
  process.stderr.write((error as Error).message);
  process.exitCode = 1;
}
