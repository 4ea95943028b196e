// Ours and another ggml's users in one process, each asked again after the other.
import { readFileSync } from "node:fs";
import { FlagReranker } from "bge-reranker";

/**
 * Prints the largest difference of our scores, and the libggml-base of the process, when `check` does not throw.
 *
 * @param [model, casesFile, first] - The programs' arguments; `first`: ours or theirs.
 * @param theirs - Asks the others, given the case's pairs.
 * @param check - Gets their answers, our reranker and the reference's scores.
 */
export async function takeTurns([model, casesFile, first], theirs, check) {
  const [{ pairs, scores }] = JSON.parse(readFileSync(casesFile, "utf8"));
  let reranker;
  const answers = { ours: [], theirs: [] };
  const ask = {
    async ours() {
      reranker ??= await FlagReranker.load(model);
      const got = await reranker.computeScore(pairs);
      return Math.max(...scores.map((score, i) => Math.abs(score - got[i])));
    },
    theirs: () => theirs(pairs),
  };
  const turn = first === "ours" ? ["ours", "theirs"] : ["theirs", "ours"];
  for (const who of [...turn, ...turn]) answers[who].push(await ask[who]());
  check(answers.theirs, reranker, scores);

  const mapped = process.platform === "linux" ? readFileSync("/proc/self/maps", "utf8") : "";
  const bases = [...new Set(mapped.match(/\/\S*(?:libggml-base|libbge\w{6})\.so/g))];
  console.log(JSON.stringify({ difference: Math.max(...answers.ours), bases }));
  process.exit(0);
}
