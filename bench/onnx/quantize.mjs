// onnxruntime's own rule for int8 weights: one scale a tensor, symmetric, codes from -127 to 127.
// Source: onnxruntime/python/tools/quantization/quant_utils.py, compute_scale_zp.

/** @returns {{ scale: number, codes: Int8Array }} */
export function quantizeTensor(values) {
  let largest = 0;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(values[i]));
  const scale = largest === 0 ? 1 : Math.fround(largest / 127);
  const codes = new Int8Array(values.length);
  for (let i = 0; i < values.length; i++) codes[i] = Math.round(values[i] / scale);
  return { scale, codes };
}
