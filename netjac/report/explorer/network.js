"use strict";
/* The mathematics of the page, in float64: forward values, J, the largest paths, and δ of backpropagation. */
const NetjacNetwork = (() => {
  const ALPHA = 1.6732632423543772, SCALE = 1.0507009873554805, ROOT = Math.sqrt(2 / Math.PI);
  const sigmoid = z => z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z));

  /* erf by its Taylor series near 0 and a continued fraction of erfc beyond: to rounding. */
  function erf(x) {
    const t = Math.abs(x);
    if (t > 6) return Math.sign(x);
    if (t < 2.5) {
      let term = x, sum = x;
      for (let n = 1; n < 100; n++) { term *= -x * x / n; sum += term / (2 * n + 1); }
      return 2 / Math.sqrt(Math.PI) * sum;
    }
    let f = t;
    for (let k = 80; k > 0; k--) f = t + k / 2 / f;
    return Math.sign(x) * (1 - Math.exp(-t * t) / (f * Math.sqrt(Math.PI)));
  }
  const gauss = z => (1 + erf(z / Math.SQRT2)) / 2;
  const geluTanh = z => Math.tanh(ROOT * (z + 0.044715 * z ** 3));

  /* name → [φ(z, a), φ′(z, a)] */
  const ELEMENTWISE = {
    linear: [z => z, () => 1],
    relu: [z => Math.max(z, 0), z => z > 0 ? 1 : 0],
    leaky_relu: [(z, a) => z > 0 ? z : a * z, (z, a) => z > 0 ? 1 : a],
    elu: [(z, a) => z > 0 ? z : a * Math.expm1(z), (z, a) => z > 0 ? 1 : a * Math.exp(z)],
    selu: [z => SCALE * (z > 0 ? z : ALPHA * Math.expm1(z)), z => SCALE * (z > 0 ? 1 : ALPHA * Math.exp(z))],
    gelu: [z => z * gauss(z), z => gauss(z) + z * Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI)],
    gelu_tanh: [z => z / 2 * (1 + geluTanh(z)), z => {
      const t = geluTanh(z);
      return (1 + t) / 2 + z / 2 * (1 - t * t) * ROOT * (1 + 3 * 0.044715 * z * z);
    }],
    silu: [z => z * sigmoid(z), z => sigmoid(z) * (1 + z * (1 - sigmoid(z)))],
    softplus: [z => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))), sigmoid],
    sigmoid: [sigmoid, z => sigmoid(z) * (1 - sigmoid(z))],
    tanh: [Math.tanh, z => 1 - Math.tanh(z) ** 2],
  };

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

  /* Every layer split into steps of one dense matrix each: φ′(z) W, and for softmax its own matrix after W. */
  function forward(layers, x) {
    let h = Float64Array.from(x);
    const steps = [];
    for (const {weights, bias, activation, parameter} of layers) {
      const z = Float64Array.from(weights, (row, k) => dot(row, h) + bias[k]);
      if (vectorial(activation)) {
        const [p, log] = softmax(z), soft = activation === "softmax";
        const matrix = p.map((pi, i) => Float64Array.from(p, (pj, j) =>
          soft ? pi * ((i === j) - pj) : (i === j) - pj));
        steps.push({name: "linear", weights, z, slopes: new Float64Array(z.length).fill(1), values: z, matrix: weights});
        h = Float64Array.from(z, (v, k) => soft ? p[k] : v - log);
        steps.push({name: activation, weights: null, z, slopes: null, values: h, matrix});
      } else {
        const [f, slope] = ELEMENTWISE[activation];
        const slopes = z.map(v => slope(v, parameter));
        h = z.map(v => f(v, parameter));
        steps.push({name: activation, weights, z, slopes, values: h,
          matrix: weights.map((row, i) => row.map(w => slopes[i] * w))});
      }
    }
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

  /* δ of output i at every step, last first: δ_l = φ′(z_l) W_{l+1}ᵀ δ_{l+1}; at last ∂y_i/∂x = W_1ᵀ δ_1. */
  function backward({steps, values}, i) {
    let above = unit(values.length, i);
    const found = [];
    for (let l = steps.length - 1; l >= 0; l--) {
      const {slopes, weights, matrix, name} = steps[l];
      const delta = slopes ? above.map((v, k) => v * slopes[k]) : pull(above, matrix);
      found.push({step: l, name, above, slopes, delta, z: steps[l].z});
      above = weights ? pull(delta, weights) : delta;
    }
    found.push({step: -1, name: "input", above, slopes: null, delta: above, z: null});
    return found;
  }

  return {unpack, forward, jacobian, paths, backward, dot, ELEMENTWISE};
})();
