"use strict";
/* The page's part: controls, tables, the picture of paths, and the steps of backpropagation. */
(() => {
  const root = document.getElementById("netjac-explorer");
  const data = JSON.parse(document.getElementById("netjac-explorer-data").textContent);
  const N = NetjacNetwork, MOST_SHOWN = 24, MOST_PATHS = 8, MOST_UNITS = 14;
  const samples = N.unpack(data.samples), low = N.unpack(data.low), high = N.unpack(data.high);
  const chain = data.kind === "chain";
  const layers = chain ? data.layers.map(l => ({...l, weights: N.unpack(l.weights), bias: N.unpack(l.bias)})) : null;
  const values = chain ? null : N.unpack(data.values), matrices = chain ? null : N.unpack(data.jacobians);
  const state = {sample: 0, feature: 0, x: Float64Array.from(samples[0]), i: 0, j: 0, step: 0};
  let now = null;

  function make(tag, attributes = {}, ...children) {
    const svg = ["svg", "line", "circle", "text", "title", "g"].includes(tag);
    const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children);
    return node;
  }
  const told = v => v === 0 ? "0" : (Math.abs(v) >= 1e5 || Math.abs(v) < 1e-3 ? v.toExponential(3) : v.toPrecision(4))
    .replaceAll("-", "−");
  const number = (v, tag = "td", more = {}) => make(tag, {...more, class: "nx-n " + (more.class || ""), "data-value": v}, told(v));
  const colour = (v, top) => `--share:${Math.round(100 * Math.min(1, Math.abs(v) / (top || 1)))}%;--hue:var(${v < 0 ? "--nx-minus" : "--nx-plus"})`;
  const options = (names, chosen) => names.map((name, k) => make("option", {value: k, selected: k === chosen}, name));

  function control(label, id, node) { node.id = id; return make("div", {class: "nx-control"}, make("label", {for: id}, label), node); }

  const sample = make("select", {onchange: e => { state.sample = +e.target.value; state.x = Float64Array.from(samples[state.sample]); slide(); update(); }},
    ...options(data.rows.map(r => `row ${r}`), 0));
  const feature = make("select", {onchange: e => { choose(state.i, +e.target.value); }}, ...options(data.features, 0));
  const output = make("select", {onchange: e => { choose(+e.target.value, state.j); }}, ...options(data.outputs, 0));
  const slider = make("input", {type: "range", oninput: e => move(+e.target.value)});
  const exact = make("input", {type: "number", step: "any", onchange: e => { if (Number.isFinite(e.target.valueAsNumber)) { move(e.target.valueAsNumber); slide(); } }});
  const reset = make("button", {type: "button", onclick: () => { state.x = Float64Array.from(samples[state.sample]); slide(); update(); }}, "Back to the sample");
  const outputs = make("tbody", {}), matrix = make("table", {class: "nx-matrix"}), spoken = make("p", {class: "nx-spoken", "aria-live": "polite", role: "status"});
  const paths = make("div", {class: "nx-paths"}), steps = make("div", {class: "nx-steps"});

  function move(v) { state.x[state.feature] = v; exact.value = v; slider.setAttribute("aria-valuetext", `${data.features[state.feature]} = ${told(v)}`); update(); }
  function slide() {
    const j = state.feature = state.j, v = state.x[j], gap = (high[j] - low[j]) || Math.abs(v) || 1;
    slider.min = Math.min(low[j] - gap / 4, v); slider.max = Math.max(high[j] + gap / 4, v); slider.step = gap / 200;
    slider.value = v; exact.value = v;
    slider.setAttribute("aria-valuetext", `${data.features[j]} = ${told(v)}`);
  }
  function choose(i, j) { state.i = i; state.j = j; feature.value = j; output.value = i; slide(); update(); }

  function compute() {
    if (chain) { const run = N.forward(layers, state.x); return {run, y: run.values, J: N.jacobian(run)}; }
    const change = state.x.map((v, k) => v - samples[state.sample][k]), J = matrices[state.sample];
    return {y: values[state.sample].map((v, i) => v + N.dot(J[i], change)), J};
  }

  function update() {
    now = compute();
    const top = Math.max(...Array.from(now.y, Math.abs));
    outputs.replaceChildren(...Array.from(now.y).slice(0, 200).map((v, i) => make("tr", {"aria-current": i === state.i && "true"},
      make("th", {scope: "row"}, data.outputs[i]), number(v), make("td", {class: "nx-bar"}, make("span", {style: colour(v, top)})))));
    spoken.textContent = `${data.outputs[state.i]} = ${told(now.y[state.i])}, ∂${data.outputs[state.i]}/∂${data.features[state.j]} = ${told(now.J[state.i][state.j])}`;
    drawMatrix();
    if (chain) { drawPaths(); drawSteps(); }
  }

  function shown(count, chosen) {
    const first = Math.max(0, Math.min(count - MOST_SHOWN, chosen - MOST_SHOWN / 2));
    return Array.from({length: Math.min(count, MOST_SHOWN)}, (_, k) => first + k);
  }
  function drawMatrix() {
    const rows = shown(now.J.length, state.i), columns = shown(state.x.length, state.j);
    const top = Math.max(...rows.map(i => Math.max(...columns.map(j => Math.abs(now.J[i][j])))));
    const focused = matrix.contains(document.activeElement);
    const head = make("tr", {}, make("td"), ...columns.map(j => make("th", {scope: "col"}, data.features[j])));
    matrix.replaceChildren(make("caption", {}, `J[i, j] = ∂${"output"} i / ∂${"feature"} j` + (columns.length < state.x.length || rows.length < now.J.length ? " (the part about the chosen entry)" : "")),
      make("thead", {}, head), make("tbody", {}, ...rows.map(i => make("tr", {}, make("th", {scope: "row"}, data.outputs[i]),
        ...columns.map(j => make("td", {}, make("button", {type: "button", class: "nx-cell", style: colour(now.J[i][j], top),
          "data-i": i, "data-j": j, "data-value": now.J[i][j], "aria-pressed": String(i === state.i && j === state.j), tabindex: i === state.i && j === state.j ? 0 : -1,
          "aria-label": `∂${data.outputs[i]}/∂${data.features[j]} = ${told(now.J[i][j])}`}, told(now.J[i][j]))))))));
    if (focused) matrix.querySelector('[tabindex="0"]').focus();
  }
  const cell = e => e.target.closest(".nx-cell");
  matrix.addEventListener("mouseover", e => { const c = cell(e); if (c && (+c.dataset.i !== state.i || +c.dataset.j !== state.j)) choose(+c.dataset.i, +c.dataset.j); });
  matrix.addEventListener("click", e => { const c = cell(e); if (c) choose(+c.dataset.i, +c.dataset.j); });
  matrix.addEventListener("keydown", e => {
    const by = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[e.key];
    if (!by || !cell(e)) return;
    e.preventDefault();
    const within = (v, count) => Math.max(0, Math.min(count - 1, v));
    choose(within(state.i + by[0], now.y.length), within(state.j + by[1], state.x.length));
  });

  /* The u-th value after l steps. A logit is no layer of its own: it has its layer's number, or its output's name. */
  function label(l, u) {
    const made = now.run.steps[l - 1], last = now.run.steps.length;
    if (l === 0) return data.features[u];
    if (l === last) return data.outputs[u];
    if (made.name !== "logits") return `h${made.layer}[${u}]`;
    return l === last - 1 ? `logit of ${data.outputs[u]}` : `z${made.layer}[${u}]`;
  }
  function drawPaths() {
    const found = N.paths(now.run.steps, state.j, state.i, MOST_PATHS), whole = now.J[state.i][state.j];
    const sum = found.reduce((s, p) => s + p.product, 0), size = found.reduce((s, p) => s + Math.abs(p.product), 0);
    const rest = Math.abs(whole - sum) < 1e-13 * size ? 0 : whole - sum;
    const share = v => make("td", {class: "nx-share"}, whole === 0 ? "" : `${(100 * v / whole).toFixed(1)} %`.replace("-", "−"));
    const row = (v, name, more = {}) => make("tr", {}, number(v, "td", more), share(v), make("th", {scope: "row"}, name));
    const rows = found.map(p => {
      const names = p.units.map((u, l) => label(l, u));
      const made = row(p.product, (names.length > 2 ? names.slice(1, -1) : names).join(" → "));
      made.dataset.units = p.units.join(" ");
      return made;
    });
    const soft = now.run.steps.filter(s => s.slopes === null);
    paths.replaceChildren(picture(found), make("div", {class: "nx-scroll"}, make("table", {},
      make("caption", {}, `The largest paths from ${data.features[state.j]} to ${data.outputs[state.i]}`),
      make("thead", {}, make("tr", {}, make("th", {scope: "col", class: "nx-n"}, "product"), make("th", {scope: "col", class: "nx-n"}, "share of J"), make("th", {scope: "col"}, "by way of"))), make("tbody", {}, ...rows),
      make("tfoot", {}, row(sum, `these ${found.length}`, {class: "nx-sum"}), row(rest, "all other paths", {class: "nx-rest"}),
        row(whole, `all paths = J[${state.i}, ${state.j}]`, {class: "nx-whole"}))),
      ...soft.slice(0, 1).map(s => make("p", {class: "nx-soft"}, `Of a ${s.name} every output depends on every logit, so a path reaches its output by any of them: the last factor is ` +
        (s.name === "softmax" ? "p[i] (1 − p[i]) by the output's own logit and −p[i] p[k] by the logit of k." : "1 − p[i] by the output's own logit and −p[k] by the logit of k.")))));
  }
  function picture(found) {
    const sizes = [state.x.length, ...now.run.steps.map(s => s.values.length)], height = 230, width = 120 * sizes.length;
    const columns = sizes.map((size, l) => {
      const must = [...new Set(found.map(p => p.units[l]))], kept = new Set(must);
      for (let u = 0; u < size && kept.size < MOST_UNITS; u++) kept.add(u);
      return [...kept].sort((a, b) => a - b);
    });
    const at = (l, u) => [60 + 120 * l, 18 + (columns[l].indexOf(u) + 0.5) * (height - 40) / columns[l].length];
    const svg = make("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", class: "nx-picture",
      "aria-label": `The network, with the ${found.length} largest paths from ${data.features[state.j]} to ${data.outputs[state.i]}; the table has their numbers`});
    const line = (l, u, v, more) => { const [x1, y1] = at(l, u), [x2, y2] = at(l + 1, v); return make("line", {x1, y1, x2, y2, ...more}); };
    for (let l = 0; l + 1 < sizes.length; l++) for (const u of columns[l]) for (const v of columns[l + 1])
      if (now.run.steps[l].matrix[v][u] !== 0) svg.append(line(l, u, v, {class: "nx-edge"}));
    const top = Math.max(...found.map(p => Math.abs(p.product)), 1e-300);
    for (const p of [...found].reverse()) for (let l = 0; l + 1 < p.units.length; l++)
      svg.append(line(l, p.units[l], p.units[l + 1], {class: p.product < 0 ? "nx-path nx-minus" : "nx-path nx-plus", "stroke-width": 1 + 4 * Math.abs(p.product) / top}));
    columns.forEach((units, l) => {
      for (const u of units) { const [cx, cy] = at(l, u); svg.append(make("circle", {cx, cy, r: 5, class: found.some(p => p.units[l] === u) ? "nx-unit nx-on" : "nx-unit"}, make("title", {}, label(l, u)))); }
      const name = l === 0 ? "input" : l === sizes.length - 1 && now.run.steps[l - 1].name === "linear" ? "output" : now.run.steps[l - 1].name;
      svg.append(make("text", {x: 60 + 120 * l, y: height - 6}, `${name} (${units.length < sizes[l] ? units.length + " of " : ""}${sizes[l]})`));
    });
    return svg;
  }

  function drawSteps() {
    const all = N.backward(now.run, state.i);
    state.step = Math.min(state.step, all.length - 1);
    const s = all[state.step], l = s.layer, units = Array.from(s.delta).slice(0, 40), weights = `W${l + 1}ᵀ δ${l + 1}`;
    const from = l === layers.length ? "e" : s.slopes ? weights : `(${weights})`, soft = s.name === "softmax";
    const formula = l === 0 ? `∂${data.outputs[state.i]}/∂x = ${weights}` : s.slopes ? `δ${l} = φ′(z${l}) ${from}` : `δ${l} = ${soft ? "(diag(p) − p pᵀ)" : "(I − p 1ᵀ)"} ${from}`;
    const names = l === 0 ? data.features : s.slopes === null && l === layers.length ? data.outputs.map(name => `logit of ${name}`) : units.map((_, u) => `unit ${u}`);
    const columns = l === 0 ? [`∂${data.outputs[state.i]}/∂x`] : ["δ", "z", ...(s.slopes ? ["φ′(z)"] : []), "from above"];
    said.textContent = `Step ${state.step + 1} of ${all.length}: ${formula}` + (l ? ` (${s.name}${l === layers.length ? `; e is 1 at ${data.outputs[state.i]}, 0 elsewhere` : ""})` : "");
    body.replaceChildren(
      make("div", {class: "nx-scroll"}, make("table", {}, make("thead", {}, make("tr", {}, make("td"), ...columns.map(c => make("th", {scope: "col", class: "nx-n"}, c)))),
        make("tbody", {}, ...units.map((d, u) => make("tr", {}, make("th", {scope: "row"}, names[u]),
          number(d, "td", {class: "nx-delta"}), ...(l ? [number(s.z[u]), ...(s.slopes ? [number(s.slopes[u])] : []), number(s.above[u])] : [])))))),
      ...(units.length < s.delta.length ? [make("p", {}, `The first ${units.length} of ${s.delta.length} units.`)] : []));
    back.disabled = state.step === 0; next.disabled = state.step === all.length - 1;
  }
  const turn = by => { state.step = Math.max(0, Math.min(layers.length, state.step + by)); drawSteps(); };
  const back = make("button", {type: "button", class: "nx-back", onclick: () => turn(-1)}, "← Back");
  const next = make("button", {type: "button", class: "nx-next", onclick: () => turn(1)}, "Next →");
  const body = make("div"), said = make("p", {class: "nx-formula", "aria-live": "polite"});
  steps.append(make("div", {class: "nx-turn"}, back, next), said, body);
  steps.tabIndex = 0;
  steps.setAttribute("role", "group");
  steps.setAttribute("aria-label", "Backpropagation, step by step: arrow keys left and right");
  steps.addEventListener("keydown", e => { const by = {ArrowLeft: -1, ArrowRight: 1}[e.key]; if (by) { e.preventDefault(); turn(by); } });

  const heading = text => make("h3", {}, text);
  root.append(
    make("div", {class: "nx-controls"}, control("Input", "nx-sample", sample), control("Output", "nx-output", output), control("Feature", "nx-feature", feature),
      control("Its value", "nx-slider", slider), control("as a number", "nx-exact", exact), reset),
    ...(chain ? [] : [make("p", {class: "nx-linear"}, `Linearised: outputs are y + J·Δx about the chosen sample, and J stays as it is there. This network is not computed in the page: ${data.reason}.`)]),
    spoken,
    make("div", {class: "nx-columns"},
      make("section", {}, heading("Outputs"), make("div", {class: "nx-scroll"}, make("table", {class: "nx-outputs"}, outputs))),
      make("section", {}, heading("Jacobian"), make("p", {}, chain ? "Point at an entry, or move with the arrow keys, to see its paths." : "The entries at the sample."), make("div", {class: "nx-scroll"}, matrix))),
    ...(chain ? [heading("Paths"), paths, heading("Backpropagation"), steps] : []));
  slide();
  update();
})();
