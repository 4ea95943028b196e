// Reads what decides whether macOS loads a 64-bit Mach-O file (struct layouts: Apple's mach-o/loader.h and nlist.h).
const SYMTAB = 0x2;
const LOAD_DYLIB = 0xc;
const CODE_SIGNATURE = 0x1d;
const BUILD_VERSION = 0x32;
const MH_BUNDLE = 8;
const MH_BINDS_TO_WEAK = 0x10000;
const N_TYPE = 0x0e;
const N_EXT = 0x01;
const DYNAMIC_LOOKUP = 0xfe;

/**
 * @returns {{ isBundle: boolean, bindsToWeak: boolean, isSigned: boolean, oldestSystem: string, libraries: string[],
 *   exported: string[], lookedUp: string[] }} `lookedUp`: symbols that any image of the process may supply.
 */
export function readMachO(bytes) {
  const commands = loadCommands(bytes);
  const one = (kind) => commands.find((command) => command.kind === kind)?.at;
  const minimum = bytes.readUInt32LE(one(BUILD_VERSION) + 12);
  const symbols = readSymbols(bytes, one(SYMTAB));
  const flags = bytes.readUInt32LE(24);
  return {
    isBundle: bytes.readUInt32LE(12) === MH_BUNDLE,
    bindsToWeak: (flags & MH_BINDS_TO_WEAK) !== 0,
    isSigned: one(CODE_SIGNATURE) !== undefined,
    oldestSystem: `${minimum >> 16}.${(minimum >> 8) & 0xff}`,
    libraries: commands.filter(({ kind }) => kind === LOAD_DYLIB).map(({ at }) => textAt(bytes, at + bytes.readUInt32LE(at + 8))),
    exported: symbols.filter(({ isDefined }) => isDefined).map(({ name }) => name),
    lookedUp: symbols.filter(({ isDefined, library }) => !isDefined && library === DYNAMIC_LOOKUP).map(({ name }) => name),
  };
}

function loadCommands(bytes) {
  const found = [];
  for (let at = 32; found.length < bytes.readUInt32LE(16); at += bytes.readUInt32LE(at + 4))
    found.push({ kind: bytes.readUInt32LE(at), at });
  return found;
}

function readSymbols(bytes, at) {
  const [symbols, count, texts] = [8, 12, 16].map((field) => bytes.readUInt32LE(at + field));
  return Array.from({ length: count }, (_, i) => symbols + i * 16)
    .filter((symbol) => bytes[symbol + 4] & N_EXT)
    .map((symbol) => ({
      name: textAt(bytes, texts + bytes.readUInt32LE(symbol)),
      isDefined: (bytes[symbol + 4] & N_TYPE) !== 0,
      library: bytes[symbol + 7],
    }));
}

const textAt = (bytes, at) => bytes.toString("latin1", at, bytes.indexOf(0, at));
