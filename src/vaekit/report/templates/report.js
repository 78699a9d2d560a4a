"use strict";
// The page stands without this. It adds: buttons that copy, walks that move, the image of a code.
document.documentElement.classList.add("on");
const $ = (at, one) => at.querySelector(one), $$ = (at, every) => [...at.querySelectorAll(every)];
const number = value => value.toFixed(2).replace("-", "\u2212");
const within = (value, most) => Math.max(0, Math.min(most, Math.round(value)));

for (const button of $$(document, ".cmd button")) {
  const name = button.textContent;
  button.hidden = false;
  button.onclick = async () => {
    const code = $(button.parentNode, "code");
    try { await navigator.clipboard.writeText(code.textContent); } catch {
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
      getSelection().removeAllRanges();
    }
    button.textContent = button.dataset.done;
    setTimeout(() => { button.textContent = name; }, 1500);
  };
}

const folded = $$(document, "details:not([open])");
addEventListener("beforeprint", () => folded.forEach(one => { one.open = true; }));
addEventListener("afterprint", () => folded.forEach(one => { one.open = false; }));

for (const walk of $$(document, ".walk")) {
  const strips = $$(walk, ".strip"), range = $(walk, "input"), large = $(walk, ".live .frame");
  const menu = $(walk, "select"), last = +range.max;
  const show = (which, step) => {
    const at = step / last, style = strips[which].style;
    menu.value = which;
    range.value = step;
    for (const name of ["--w", "--wide"]) large.style.setProperty(name, style.getPropertyValue(name));
    large.style.setProperty("--at", `${100 * at}%`);
    $(walk, ".t").textContent = `t = ${number(at)}`;
  };
  menu.onchange = () => show(+menu.value, +range.value);
  range.oninput = () => show(+menu.value, +range.value);
  strips.forEach((strip, which) => {
    const frames = $(strip, ".frames");
    frames.onpointermove = frames.onpointerdown = event => {
      const box = frames.getBoundingClientRect();
      show(which, within((event.clientX - box.left) / box.width * last, last));
    };
  });
  show(0, within(last / 2, last));
}

for (const plane of $$(document, ".plane")) {
  const known = JSON.parse($(plane, "script").textContent), chart = $(plane, "svg");
  const [wide, high] = known.size, clouds = $$(chart, ".points"), minis = $$(plane, ".mini");
  const hit = $(chart, ".hit"), card = $(plane, ".card"), menus = $$(plane, "select");
  const axes = [0, 1], side = Math.ceil(Math.sqrt(known.shown.length));
  const x = row => wide / 2 + known.scale * (known.z[row][axes[0]] - known.middle[axes[0]]);
  const y = row => high / 2 - known.scale * (known.z[row][axes[1]] - known.middle[axes[1]]);
  const placed = row => axes.every(axis => known.z[row][axis] !== null);
  const pick = (row, tile) => {
    hit.setAttribute("cx", x(row));
    hit.setAttribute("cy", y(row));
    hit.setAttribute("visibility", "visible");
    $$(card, ".frame").forEach((frame, which) => {
      const part = place => 100 * place / Math.max(1, side - 1);
      frame.style.background = `url(${known.sheets[which]}) ${part(tile % side)}% ` +
        `${part(Math.floor(tile / side))}% / ${100 * side}%`;
    });
    const values = axes.map(axis => `${known.dims[axis]} = ${number(known.z[row][axis])}`);
    $(card, ".who").textContent = [known.names[known.class[row]], ...values].filter(Boolean).join(", ");
  };
  const nearest = event => {
    const box = chart.getBoundingClientRect();
    const at = (event.clientX - box.left) / box.width * wide;
    const up = (event.clientY - box.top) / box.height * high;
    const far = known.shown.map(row => placed(row) ? (x(row) - at) ** 2 + (y(row) - up) ** 2 : Infinity);
    const tile = far.indexOf(Math.min(...far));
    pick(known.shown[tile], tile);
  };
  if (known.sheets.length) {
    card.hidden = false;
    chart.onpointermove = chart.onpointerdown = nearest;
    pick(known.shown[0], 0);
  }
  const mark = which => {
    minis.forEach(mini => mini.setAttribute("aria-pressed", mini.dataset.k === which));
    clouds.forEach(cloud => cloud.classList.toggle("on", cloud.dataset.k === which));
    const chosen = clouds.find(cloud => cloud.dataset.k === which);
    chart.insertBefore(chosen, hit);
  };
  minis.forEach(mini => { mini.onclick = () => mark(mini.dataset.k); });
  const redraw = () => {
    const paths = {};
    known.z.forEach((_, row) => {
      if (!placed(row)) return;
      const of = known.class[row];
      paths[of] = `${paths[of] || ""}M${x(row).toFixed(0)} ${y(row).toFixed(0)}h0`;
    });
    for (const cloud of [...clouds, ...$$(plane, ".mini .points")]) {
      cloud.setAttribute("d", paths[cloud.dataset.k] || "");
    }
    for (const one of $$(chart, ".ellipse")) one.remove();
    const units = !axes.some(axis => known.dims[axis].startsWith("t-SNE"));
    for (const one of $$(chart, ".prior")) one.setAttribute("visibility", units ? "visible" : "hidden");
    $(chart, ".across").textContent = `${known.dims[axes[0]]} \u2192`;
    $(chart, ".up").textContent = `${known.dims[axes[1]]} \u2191`;
  };
  menus.forEach((menu, which) => {
    menu.onchange = () => {
      axes[which] = +menu.value;
      redraw();
      const first = Math.max(0, known.shown.findIndex(placed));
      if (known.sheets.length && placed(known.shown[first])) pick(known.shown[first], first);
    };
  });
}
