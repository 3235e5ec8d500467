"use strict";
/* The mathematics of the page, in float64: forward values, J, the largest paths, and δ of backpropagation. */
const NetjacNetwork = (() => {
  const ALPHA = 1.6732632423543772, SCALE = 1.0507009873554805, ROOT = Math.sqrt(2 / Math.PI);
  const sigmoid = z => z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z));

  /* erfc(x) = 1 − erf(x): the Taylor series of erf near 0, a continued fraction beyond; to rounding, tails included. */
  function erfc(x) {
    const t = Math.abs(x);
    if (t < 2.5) {
      let term = x, sum = x;
      for (let n = 1; n < 100; n++) { term *= -x * x / n; sum += term / (2 * n + 1); }
      return 1 - 2 / Math.sqrt(Math.PI) * sum;
    }
    let f = t;
    for (let k = 80; k > 0; k--) f = t + k / 2 / f;
    const tail = Math.exp(-t * t) / (f * Math.sqrt(Math.PI));
    return x > 0 ? tail : 2 - tail;
  }
  const gauss = z => erfc(-z / Math.SQRT2) / 2;
  const softplus = z => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
  const clip = (z, low, high) => Math.min(Math.max(z, low), high);
  const inside = (z, low, high) => z > low && z < high ? 1 : 0;
  /* (1 − t²) c for t that is 1 in size where c overflows. */
  const fading = (t, c) => Math.abs(t) === 1 ? 0 : (1 - t * t) * c;
  const geluTanh = z => Math.tanh(ROOT * (z + 0.044715 * z ** 3));

  /* name → [φ(z, a), φ′(z, a)] */
  const ELEMENTWISE = {
    linear: [z => z, () => 1],
    relu: [z => Math.max(z, 0), z => z > 0 ? 1 : 0],
    relu6: [z => clip(z, 0, 6), z => inside(z, 0, 6)],
    leaky_relu: [(z, a) => z > 0 ? z : a * z, (z, a) => z > 0 ? 1 : a],
    elu: [(z, a) => z > 0 ? z : a * Math.expm1(z), (z, a) => z > 0 ? 1 : a * Math.exp(z)],
    selu: [z => SCALE * (z > 0 ? z : ALPHA * Math.expm1(z)), z => SCALE * (z > 0 ? 1 : ALPHA * Math.exp(z))],
    gelu: [z => z * gauss(z), z => gauss(z) + z * Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI)],
    gelu_tanh: [z => z / 2 * (1 + geluTanh(z)), z => {
      const t = geluTanh(z);
      return (1 + t) / 2 + fading(t, z / 2 * ROOT * (1 + 3 * 0.044715 * z * z));
    }],
    silu: [z => z * sigmoid(z), z => sigmoid(z) * (1 + z * (1 - sigmoid(z)))],
    softplus: [softplus, sigmoid],
    sigmoid: [sigmoid, z => sigmoid(z) * (1 - sigmoid(z))],
    log_sigmoid: [z => -softplus(-z), z => sigmoid(-z)],
    mish: [z => z * Math.tanh(softplus(z)), z => {
      const t = Math.tanh(softplus(z));
      return t + fading(t, z * sigmoid(z));
    }],
    softsign: [z => z / (1 + Math.abs(z)), z => 1 / (1 + Math.abs(z)) ** 2],
    tanh: [Math.tanh, z => 1 - Math.tanh(z) ** 2],
    tanh_shrink: [z => z - Math.tanh(z), z => Math.tanh(z) ** 2],
    hard_sigmoid: [z => clip(z + 3, 0, 6) / 6, z => inside(z, -3, 3) / 6],
    hard_silu: [z => z * (clip(z + 3, 0, 6) / 6), z => z < 3 ? inside(z, -3, 3) * (2 * z + 3) / 6 : 1],
    hard_tanh: [z => clip(z, -1, 1), z => inside(z, -1, 1)],
  };

  /* At a kink the network's own convention, which the page is given; elsewhere the derivative. */
  const slopeOf = (slope, z, a, kinks) => { const at = kinks.find(([k]) => k === z); return at ? at[1] : slope(z, a); };

  function unpack(given) {
    const bytes = Uint8Array.from(atob(given.data), c => c.charCodeAt(0));
    const view = new DataView(bytes.buffer), wide = given.type === "f8", width = wide ? 8 : 4;
    const flat = Float64Array.from({length: bytes.length / width},
      (_, k) => wide ? view.getFloat64(8 * k, true) : view.getFloat32(4 * k, true));
    const cut = (array, shape) => shape.length < 2 ? array : Array.from({length: shape[0]}, (_, k) => {
      const size = array.length / shape[0];
      return cut(array.subarray(k * size, (k + 1) * size), shape.slice(1));
    });
    return cut(flat, given.shape);
  }

  const dot = (a, b) => { let s = 0; for (let k = 0; k < a.length; k++) s += a[k] * b[k]; return s; };
  const vectorial = name => name === "softmax" || name === "log_softmax";

  function softmax(z) {
    const top = Math.max(...z), e = Array.from(z, v => Math.exp(v - top)), sum = e.reduce((a, b) => a + b, 0);
    return [e.map(v => v / sum), top + Math.log(sum)];
  }

  /* Every layer split into steps of one dense matrix each: φ′(z) W; before a softmax its logits z = W h + b, and then its own
     matrix. `layer` numbers the layers from 1, so that logits and their softmax have one number. */
  function forward(layers, x) {
    let h = Float64Array.from(x);
    const steps = [];
    layers.forEach(({weights, bias, activation, parameter, kinks}, k) => {
      const layer = k + 1, z = Float64Array.from(weights, (row, u) => dot(row, h) + bias[u]);
      if (vectorial(activation)) {
        const [p, log] = softmax(z), soft = activation === "softmax";
        const matrix = p.map((pi, i) => Float64Array.from(p, (pj, j) =>
          soft ? pi * ((i === j) - pj) : (i === j) - pj));
        steps.push({layer, name: "logits", weights, z, values: z, matrix: weights});
        h = Float64Array.from(z, (v, u) => soft ? p[u] : v - log);
        steps.push({layer, name: activation, weights: null, z, slopes: null, values: h, matrix});
      } else {
        const [f, slope] = ELEMENTWISE[activation];
        const slopes = z.map(v => slopeOf(slope, v, parameter, kinks));
        h = z.map(v => f(v, parameter));
        steps.push({layer, name: activation, weights, z, slopes, values: h,
          matrix: weights.map((row, i) => row.map(w => slopes[i] * w))});
      }
    });
    return {steps, values: h};
  }

  const pull = (vector, matrix) => {
    const result = new Float64Array(matrix[0].length);
    matrix.forEach((row, i) => { if (vector[i] !== 0) row.forEach((w, j) => { result[j] += vector[i] * w; }); });
    return result;
  };

  const unit = (size, i) => Float64Array.from({length: size}, (_, k) => k === i ? 1 : 0);

  function jacobian({steps, values}) {
    return Array.from(values, (_, i) => {
      let row = unit(values.length, i);
      for (let l = steps.length - 1; l >= 0; l--) row = pull(row, steps[l].matrix);
      return row;
    });
  }

  /* The `most` paths from input j to output i that are largest in size: each unit keeps its own best. */
  function paths(steps, j, i, most) {
    let best = steps[0].matrix.map((row, u) => [{units: [j, u], product: row[j]}]);
    for (const {matrix} of steps.slice(1)) {
      best = matrix.map((row, u) => {
        const all = [];
        row.forEach((w, v) => { if (w !== 0) for (const p of best[v]) if (p.product !== 0)
          all.push({units: [...p.units, u], product: p.product * w}); });
        return all.sort((a, b) => Math.abs(b.product) - Math.abs(a.product)).slice(0, most);
      });
    }
    return best[i].filter(p => p.product !== 0);
  }

  /* δ_l = ∂y_i/∂z_l of every layer, last first: φ′(z_l) W_{l+1}ᵀ δ_{l+1}, of a softmax (∂p/∂z)ᵀ in φ′'s place; at last
     ∂y_i/∂x = W_1ᵀ δ_1. `above` is what comes from the layer above: ∂y_i/∂h_l. */
  function backward({steps, values}, i) {
    let above = unit(values.length, i);
    const found = [];
    for (let l = steps.length - 1; l >= 0; l--) {
      const {layer, slopes, matrix, name, z} = steps[l];
      const delta = slopes ? above.map((v, k) => v * slopes[k]) : pull(above, matrix);
      found.push({layer, name, above, slopes, delta, z});
      if (!slopes) l -= 1;
      above = pull(delta, steps[l].weights);
    }
    found.push({layer: 0, name: "input", above, slopes: null, delta: above, z: null});
    return found;
  }

  return {unpack, forward, jacobian, paths, backward, dot, ELEMENTWISE};
})();
