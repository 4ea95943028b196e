// Progress while a model is loaded: a download, a conversion, or both.
import type { Progress } from "../index.js";
import { formatBytes, progressLine } from "./terminal.js";

export interface LoadingLine {
  readonly onProgress: (progress: Progress) => void;
  /** Removes the line. */
  readonly end: () => void;
}

export function loadingLine(quiet: boolean | undefined): LoadingLine {
  const download = progressLine("downloading", process.stderr, quiet);
  const convert = progressLine("converting", process.stderr, quiet);
  let downloading = false;
  return {
    onProgress({ done, total, stage, file }) {
      if (stage === "download") downloading = done < total;
      else if (downloading) return; // weights are converted as they arrive; the download is what is waited for
      const note = `${formatBytes(done)} of ${formatBytes(total)}  ${file ?? ""}`;
      (stage === "download" ? download : convert).update(done, total, note);
    },
    end() {
      download.end();
      convert.end();
    },
  };
}
