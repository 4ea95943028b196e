/** Fills a folder anew and gives its path. */
export function installMemoryFiles(): (contents: Readonly<Record<string, Uint8Array | string>>) => string;
