export function makeAllNativeSeeds(folder: string): Promise<Record<string, string>>;
