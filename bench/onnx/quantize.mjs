// onnxruntime's own rule for int8 weights: symmetric, codes from -127 to 127, one scale a tensor, or one an output with per_channel.
// Source: onnxruntime/python/tools/quantization/quant_utils.py, compute_scale_zp.

/** @returns {{ scales: number[], codes: Int8Array }} */
export function quantizeTensor(values) {
  let largest = 0;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]));
  const scale = largest === 0 ? 1 : Math.fround(largest / 127);
  const codes = new Int8Array(values.length);
  for (let i = 0; i < values.length; i++) codes[i] = Math.round(values[i] / scale);
  return { scales: [scale], codes };
}

/** Of a matrix [in, out], row by row: a scale for each column. */
export function quantizeColumns(values, columns) {
  const largest = new Float64Array(columns);
  for (let i = 0; i < values.length; i++) largest[i % columns] = Math.max(largest[i % columns], Math.abs(values[i]));
  const scales = Array.from(largest, (value) => (value === 0 ? 1 : Math.fround(value / 127)));
  const codes = Int8Array.from(values, (value, i) => Math.round(value / scales[i % columns]));
  return { scales, codes };
}
