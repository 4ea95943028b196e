export type Random = (below: number) => number;
export function randomFrom(seed: number): Random;
