// What the graphs of XLM-RoBERTa and BERT have in common: the mask of attention, and a layer.

/** 0 where a key may be seen, the lowest float where not: [batch, 1, 1, tokens]. */
export function attentionBias(model, mask) {
  const wide = model.node("Unsqueeze", [mask, model.integers(1, 2)]);
  const hidden = model.node("Sub", [model.floats(1), model.node("Cast", [wide], { to: 1 })]);
  return model.node("Mul", [hidden, model.floats(-3.4028234663852886e38)]);
}

export function layer(model, weights, name, heads, width, x, bias) {
  const size = width / heads;
  const split = model.integers(0, 0, heads, size);
  const project = (part, order) => {
    const projected = model.node("Reshape", [weights.linear(`${name}.attention.self.${part}`, x), split]);
    return model.node("Transpose", [projected], { perm: order });
  };
  const q = project("query", [0, 2, 1, 3]);
  const k = project("key", [0, 2, 3, 1]);
  const v = project("value", [0, 2, 1, 3]);
  const scaled = model.node("Div", [model.node("MatMul", [q, k]), model.floats(Math.sqrt(size))]);
  const attention = model.node("Softmax", [model.node("Add", [scaled, bias])], { axis: -1 });
  const mixed = model.node("Transpose", [model.node("MatMul", [attention, v])], { perm: [0, 2, 1, 3] });
  const joined = model.node("Reshape", [mixed, model.integers(0, 0, width)]);
  const attended = model.node("Add", [weights.linear(`${name}.attention.output.dense`, joined), x]);
  const normed = layerNorm(model, weights, `${name}.attention.output.LayerNorm`, attended);
  const up = gelu(model, weights.linear(`${name}.intermediate.dense`, normed));
  const down = model.node("Add", [weights.linear(`${name}.output.dense`, up), normed]);
  return layerNorm(model, weights, `${name}.output.LayerNorm`, down);
}

export function layerNorm(model, weights, name, x) {
  return model.node("LayerNormalization", [x, weights.float(`${name}.weight`), weights.float(`${name}.bias`)], {
    axis: -1,
    epsilon: weights.epsilon,
  });
}

/** Exact GELU, in the shape that onnxruntime fuses. */
function gelu(model, x) {
  const erf = model.node("Erf", [model.node("Div", [x, model.floats(Math.SQRT2)])]);
  return model.node("Mul", [model.node("Mul", [x, model.node("Add", [erf, model.floats(1)])]), model.floats(0.5)]);
}
