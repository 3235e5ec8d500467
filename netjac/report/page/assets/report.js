"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent).jacobian;
  const select = document.getElementById("sample");
  if (!data || !select) return;
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const colours = bytes(data.colours);
  const [maps, height, width] = data.size;
  const canvas = document.getElementById("sample-map");
  const columns = Math.min(maps, 5), gap = maps > 1 ? 1 : 0;
  const rows = Math.ceil(maps / columns);
  let values = null;

  const told = (value) => {
    if (typeof value === "string") return value.replace("inf", "∞");
    const size = Math.abs(value);
    const text = size && (size < 1e-4 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
    return text.replace("-", "−");
  };

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * canvas.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * canvas.height);
    const map = Math.floor(y / (height + gap)) * columns + Math.floor(x / (width + gap));
    const i = y % (height + gap), j = x % (width + gap);
    return i < height && j < width && map >= 0 && map < maps && i >= 0 && j >= 0 ? [map, i, j] : null;
  };

  const show = (number) => {
    const sample = data.samples[number];
    values = new Float32Array(bytes(data.values[number]).buffer);
    canvas.width = columns * (width + gap) - gap;
    canvas.height = rows * (height + gap) - gap;
    canvas.classList.toggle("images", data.images);
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    for (let map = 0; map < maps; map++) for (let i = 0; i < height; i++) for (let j = 0; j < width; j++) {
      const value = values[(map * height + i) * width + j];
      const at = 4 * ((Math.floor(map / columns) * (height + gap) + i) * canvas.width + (map % columns) * (width + gap) + j);
      const colour = Math.max(0, Math.min(255, Math.round(((value / data.top + 1) / 2) * 255)));
      for (let c = 0; c < 3; c++) image.data[at + c] = Number.isFinite(value) ? colours[3 * colour + c] : 153;
      image.data[at + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    canvas.setAttribute("aria-label", `J at sample ${sample.sample}: Frobenius norm ${told(sample.norm)}`);
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
  canvas.addEventListener("pointermove", (event) => {
    const at = place(event);
    if (!at) return;
    const [map, i, j] = at;
    const value = told(values[(map * height + i) * width + j]);
    const coarse = data.blocks[0] * data.blocks[1] > 1 ? " (the largest of its block)" : "";
    const output = data.images ? data.outputs[map] : coarse ? `output block ${i}` : data.outputs[i];
    const feature = data.images ? `pixel (${i}, ${j})` : coarse || !data.features.length ? `feature block ${j}` : data.features[j];
    document.getElementById("sample-entry").textContent = `∂${output}/∂${feature} = ${value}${coarse}`;
  });
  show(0);
})();
