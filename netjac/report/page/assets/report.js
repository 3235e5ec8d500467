"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent).jacobian;
  const select = document.getElementById("sample");
  if (!data || !select) return;
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const colours = bytes(data.colours);
  const [, height, width] = data.size;
  const canvases = [...document.querySelectorAll("#sample-maps canvas")];
  let values = null;

  const told = (value) => {
    if (typeof value === "string") return value.replace("inf", "∞");
    const size = Math.abs(value);
    const text = size && (size < 1e-4 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
    return text.replace("-", "−");
  };

  const paint = (canvas, numbers, colourOf) => {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    numbers.forEach((value, k) => image.data.set([...(Number.isFinite(value) ? colourOf(value) : [153, 153, 153]), 255], 4 * k));
    context.putImageData(image, 0, 0);
  };
  const signed = (value) => {
    const at = 3 * Math.max(0, Math.min(255, Math.round(((value / data.top + 1) / 2) * 255)));
    return colours.subarray(at, at + 3);
  };
  const ink = (value) => Array(3).fill(Math.round(255 * (1 - value)));

  const entry = (canvas, event) => {
    const box = canvas.getBoundingClientRect(), map = Number(canvas.dataset.map);
    const j = Math.min(width - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * width)));
    const i = Math.min(height - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * height)));
    const coarse = data.blocks[0] * data.blocks[1] > 1;
    const output = data.images ? data.outputs[map] : coarse ? `output block ${i}` : data.outputs[i];
    const block = coarse || !data.features.length;
    const feature = data.images ? `pixel (${i}, ${j})` : block ? `feature block ${j}` : data.features[j];
    const value = told(values[(map * height + i) * width + j]);
    return `∂${output}/∂${feature} = ${value}${coarse ? " (the largest of its block)" : ""}`;
  };

  const show = (number) => {
    const sample = data.samples[number];
    values = new Float32Array(bytes(data.values[number]).buffer);
    for (const canvas of canvases) {
      if ("input" in canvas.dataset) {
        paint(canvas, new Float32Array(bytes(data.inputs[number]).buffer), ink);
        canvas.setAttribute("aria-label", `The input, sample ${sample.sample}`);
        continue;
      }
      const map = Number(canvas.dataset.map);
      paint(canvas, values.subarray(map * height * width, (map + 1) * height * width), signed);
      const of = data.images ? ` of ${data.outputs[map]}` : "";
      canvas.setAttribute("aria-label", `J${of} at sample ${sample.sample}`);
    }
    document.getElementById("sample-norm").textContent = told(sample.norm);
    document.getElementById("sample-spectral").textContent = told(sample.spectral);
    document.getElementById("sample-largest").replaceChildren(...sample.largest.map((entry) => {
      const item = document.createElement("li");
      item.textContent = `∂${entry.output}/∂${entry.feature} = ${told(entry.value)}`;
      return item;
    }));
  };

  const step = (by) => {
    const count = data.samples.length;
    select.value = String((Number(select.value) + by + count) % count);
    show(Number(select.value));
  };
  select.addEventListener("change", () => show(Number(select.value)));
  document.getElementById("sample-back").addEventListener("click", () => step(-1));
  document.getElementById("sample-next").addEventListener("click", () => step(1));
  for (const canvas of canvases.filter((one) => "map" in one.dataset)) {
    canvas.addEventListener("pointermove", (event) => {
      document.getElementById("sample-entry").textContent = entry(canvas, event);
    });
  }
  show(0);
})();
