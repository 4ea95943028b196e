// The conversion that loading and pulling do behind the name of a model.
import { convert, convertArriving } from "../convert/convert.js";
import type { ConvertRequest } from "./model-source.js";
import type { Progress } from "./progress.js";

/** Converts as loading does; a file that is there is of another time and replaced. */
export async function convertForCache(folder: string, { arriving, ...request }: ConvertRequest): Promise<void> {
  const onProgress = ({ done, total }: Progress) => request.onProgress?.({ done, total, stage: "convert" });
  const options = { ...request, onProgress, overwrite: true };
  await (arriving ? convertArriving(folder, arriving, options) : convert(folder, options));
}
