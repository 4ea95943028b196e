// Numbers that sum up others.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Kendall's tau-b: 1 = the same order, -1 = the reverse. */
export function kendallTau(a, b) {
  let agree = 0;
  let tiesInA = 0;
  let tiesInB = 0;
  for (let i = 0; i < a.length; i++) {
    for (let j = 0; j < i; j++) {
      const signA = Math.sign(a[i] - a[j]);
      const signB = Math.sign(b[i] - b[j]);
      agree += signA * signB;
      if (signA === 0) tiesInA++;
      if (signB === 0) tiesInB++;
    }
  }
  const pairs = (a.length * (a.length - 1)) / 2;
  return agree / Math.sqrt((pairs - tiesInA) * (pairs - tiesInB));
}

/** How far logits are from the reference's. */
export function compareLogits(logits, reference) {
  const differences = logits.map((logit, i) => Math.abs(logit - reference[i]));
  const mean = reference.reduce((sum, logit) => sum + logit, 0) / reference.length;
  const spread = Math.sqrt(reference.reduce((sum, logit) => sum + (logit - mean) ** 2, 0) / reference.length);
  return {
    maxDelta: Math.max(...differences),
    rmsDelta: Math.sqrt(differences.reduce((sum, d) => sum + d * d, 0) / differences.length),
    kendallTau: kendallTau(logits, reference),
    referenceSpread: spread,
  };
}
