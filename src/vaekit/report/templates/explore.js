"use strict";
// The page that holds a model: its networks compute in a worker, made of the page's own text.
const get = id => document.getElementById(id);
const K = JSON.parse(get("known").textContent), W = JSON.parse(get("words").textContent);
const image = K.shape.length === 3, coded = K.space === "codes", [channels, high, wide] = K.shape;
const say = (text, ...values) => values.reduce((so, value) => so.replace("{}", value), text);
const number = (value, digits = 2) => value.toFixed(digits).replace("-", "−");
const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const make = (tag, more = {}, ...inside) => {
  const one = Object.assign(document.createElement(tag), more);
  one.append(...inside);
  return one;
};

const WORK = `let nets;
onmessage = ({ data: { id, name, inputs, spec, pack } }) => {
  if (spec) nets = engine(spec, pack);
  const start = performance.now(), d = name ? nets[name](...inputs) : null;
  postMessage({ id, d, took: performance.now() - start });
};`;
const worker = new Worker(URL.createObjectURL(new Blob([get("engine").textContent, WORK])));
const waiting = new Map(), later = [];
let asked = 0, speed = 0;
worker.onerror = event => { get("says").textContent = say(W.failed, event.message); };
worker.onmessage = ({ data }) => {
  const done = waiting.get(data.id);
  waiting.delete(data.id);
  if (data.took && data.id > 9) speed = speed ? 0.8 * speed + 0.2 * data.took : data.took;  // once compiled
  if (later.length && !waiting.size) later.shift()();
  done(data.d);
};
const send = K.around ? async ({ inputs }) => picture(seek(inputs[0])) : (what, moved = []) => new Promise(done => {
  waiting.set(++asked, done);
  worker.postMessage({ id: asked, ...what }, moved);
});
// What nobody waits for is computed when the worker has nothing else to do.
const idle = (name, inputs) => new Promise(done => {
  const go = () => send({ name, inputs }).then(done);
  if (waiting.size) later.push(go); else go();
});

// A model too large for a page: what it makes of codes around each row to begin at, in their order.
let base = 0, tiles = null;
function seek(at) {
  let found = 0, least = Infinity;
  for (let i = base * K.around; i < (base + 1) * K.around; i++) {
    let sum = 0;
    for (let k = 0; k < K.size; k++) sum += (arrays.around[i * K.size + k] - at[k]) ** 2;
    if (sum < least) [found, least] = [i, sum];
  }
  return found;
}
function picture(i) {
  if (!tiles) return arrays.made.slice(i * K.shape[0], (i + 1) * K.shape[0]);
  const columns = tiles.width / wide, top = Math.floor(i / columns) * high;
  return pixels(tiles, i % columns * wide, top).map(v => K.low + (K.high - K.low) * v);
}
const home = () => K.around ? row("codes", K.starts[base]) : z;  // where a move goes from

let arrays, z, own = null, note = "", axes = [0, 1], view = "both", marked = -1, turn = 0, shown = 0;
const menus = [...document.querySelectorAll(".given")];
const given = () => K.given.length ? [Float32Array.from(K.given.flatMap(([, values], k) =>
  values.map((_, at) => +(at === menus[k].selectedIndex))))] : [];
const row = (name, at) => arrays[name].slice(at * K.size, (at + 1) * K.size);
const count = name => arrays[name].length / K.size;

// Coordinates: of one dimension of z, or along a principal axis of the codes.
let basis = "dims", scales = [];
const along = k => basis === "dims" ? K.dims[k] : K.axes[k];
const named = k => basis === "dims" ? `z${K.dims[k]}` : `PC${k + 1}`;
const many = () => K[basis].length;
const coordinate = (at, k) => basis === "dims" ? at[K.dims[k]]
  : K.axes[k].reduce((sum, v, i) => sum + v * (at[i] - K.middle[i]), 0);
function place(at, k, value) {
  if (basis === "dims") at[K.dims[k]] = value;
  else {
    const by = value - coordinate(at, k);
    K.axes[k].forEach((v, i) => { at[i] += by * v; });
  }
}
function inside(at) {  // a sphere and a ball have no outside
  if (K.around) return row("around", seek(at));
  const norm = Math.hypot(...at), most = K.space === "ball" ? 0.999 / Math.sqrt(K.curvature || 1) : 1;
  const by = K.space === "sphere" ? 1 / (norm || 1) : K.space === "ball" && norm > most ? most / norm : 1;
  return by === 1 ? at : at.map(v => v * by);
}
function measure() {
  const points = Array.from({ length: count("codes") }, (_, i) => row("codes", i));
  scales = Array.from({ length: many() }, (_, k) => {
    const values = points.map(at => coordinate(at, k)).sort((a, b) => a - b), n = values.length - 1;
    const [low, top] = [values[Math.floor(0.005 * n)], values[Math.ceil(0.995 * n)]];
    const room = Math.max(0.15 * (top - low), 0.01);
    return { low: low - room, high: top + room, at: values };
  });
  return points;
}
const half = () => Math.max(...axes.map(k => (scales[k].high - scales[k].low) / 2));
const center = k => (scales[k].low + scales[k].high) / 2;
const toPixel = (value, k, up) => 440 * (1 + (up ? -1 : 1) * (value - center(k)) / half());
const toValue = (pixel, k, up) => center(k) + (up ? -1 : 1) * (pixel / 440 - 1) * half();

// Images.
const levels = d => Float32Array.from(d, v => Math.max(0, Math.min(1, (v - K.low) / (K.high - K.low))));
function paint(canvas, values, ink) {
  const context = canvas.getContext("2d"), made = context.createImageData(wide, high), n = wide * high;
  for (let i = 0; i < n; i++) {
    const level = c => 255 * values[(channels === 3 ? c * n : 0) + i];
    made.data.set(ink ? [...ink, level(0)] : [level(0), level(1), level(2), 255], 4 * i);
  }
  context.putImageData(made, 0, 0);
}
const tile = values => {
  const canvas = make("canvas", { width: wide, height: high });
  paint(canvas, values);
  return canvas;
};
function missed(made, seen) {
  const n = wide * high, ink = color("--ink"), rgb = [1, 3, 5].map(at => parseInt(ink.slice(at, at + 2), 16));
  const far = Float32Array.from({ length: n }, (_, i) =>
    Array.from({ length: channels }, (_, c) => Math.abs(made[c * n + i] - seen[c * n + i])).reduce((a, b) => a + b) / channels);
  paint(get("missed"), channels === 3 ? Float32Array.from([...far, ...far, ...far]) : far, rgb);
  return made.reduce((sum, v, i) => sum + (v - seen[i]) ** 2, 0) / made.length;
}

// Tables: a bar for each column, in the units of the file.
function unit(value, column) {
  const { places, units } = K, step = places[1] - places[0];
  const k = Math.max(0, Math.min(places.length - 2, Math.floor((value - places[0]) / step)));
  return units[column][k] + (value - places[k]) / step * (units[column][k + 1] - units[column][k]);
}
const few = value => Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3) ? value.toExponential(2) : String(+value.toPrecision(4));
const cells = image ? [] : K.columns.map(name => {
  const cell = make("div", { className: "cell" }, make("span", { textContent: name }), make("i"), make("span"));
  cell.setAttribute("role", "row");
  [...cell.children].forEach(one => one.setAttribute("role", "cell"));
  get("bars").append(cell);
  return cell;
});
function fill(made) {
  const [low, top] = K.ends;
  const part = (v, k) => `${Math.max(0, Math.min(100, 100 * (v - low[k]) / (top[k] - low[k] || 1)))}%`;
  cells.forEach((cell, k) => {
    cell.children[1].style.setProperty("--to", part(made[k], k));
    cell.children[1].style.setProperty("--own", own ? part(own[k], k) : "-9px");
    cell.children[2].textContent = few(unit(made[k], k)).replace("-", "−");
  });
}

// What is said of z.
function far() {
  let least = Infinity;
  for (let i = 0; i < count("codes"); i++) {
    let sum = 0;
    for (const k of K.active) sum += (arrays.codes[i * K.size + k] - z[k]) ** 2;
    least = Math.min(least, sum);
  }
  const at = Math.sqrt(least), [middle, most] = K.near;
  const where = at <= 1.05 * middle ? W.inside : at <= 1.05 * most ? W.edge : W.far;
  return `${where} (${say(W.nearest, number(at), number(middle))})`;
}
async function show(again = false) {
  const mine = ++shown, at = Float32Array.from(z);
  sliders.forEach((one, k) => {
    const value = coordinate(at, k);
    one.input.value = value;
    one.input.setAttribute("aria-valuetext", `${named(k)} = ${number(value)}`);
    one.out.textContent = number(value);
    one.box.classList.toggle("axis", axes.includes(k));
  });
  if (coded) grid(); else plane();
  ends();
  const made = await send({ name: "decode", inputs: [at, ...given()] });
  if (mine !== shown && !again) return;
  const said = [];
  if (image) {
    const values = levels(made);
    paint(get("now"), values);
    get("duo").hidden = !own;
    if (own) {
      paint(get("own"), own);
      said.push(say(W.error, number(missed(values, own), 4)));
    }
  } else fill(made);
  if (note) said.push(note);
  if (!coded) said.push(far());
  if (speed) said.push(say(W.ready, number(speed, speed < 10 ? 1 : 0)));
  get("says").replaceChildren(...said.flatMap((text, k) => k ? [make("br"), text] : [text]));
}
function go(at, seen = null, words = "") {
  z = Float32Array.from(coded ? at : inside(at));
  own = seen;
  note = words;
  show();
  behind();
}

// The plane: decoded images, and the points of test rows over them.
const N = 11, gap = Math.ceil(wide / 24), step = [wide + gap, high + gap];
const back = image && !coded ? make("canvas", { width: N * step[0] - gap, height: N * step[1] - gap }) : null;
async function behind() {
  const mine = ++turn;
  if (!back) return;
  const here = axes.map((k, which) => toPixel(coordinate(z, k), k, which === 1) / 880 * N - 0.5);
  const away = ([c, r]) => Math.hypot(c - here[0], r - here[1]);
  const order = Array.from({ length: N * N }, (_, i) => [i % N, Math.floor(i / N)]).sort((a, b) => away(a) - away(b));
  for (const [done, [c, r]] of order.entries()) {
    const at = Float32Array.from(z);
    place(at, axes[0], toValue(880 * (c + 0.5) / N, axes[0]));
    place(at, axes[1], toValue(880 * (r + 0.5) / N, axes[1], true));
    const made = await idle("decode", [inside(at), ...given()]);
    if (mine !== turn) return;
    back.getContext("2d").drawImage(tile(levels(made)), c * step[0], r * step[1]);
    if (done % N === N - 1) plane();
  }
}
// What each slider makes at its two ends, once the hand rests.
let resting = 0;
async function ends() {
  const mine = ++resting;
  await new Promise(done => setTimeout(done, 100));
  const from = Float32Array.from(home());
  for (const [k, { canvases }] of sliders.entries()) for (const [which, canvas] of canvases.entries()) {
    if (mine !== resting) return;
    const at = Float32Array.from(from);
    place(at, k, which ? scales[k].high : scales[k].low);
    paint(canvas, levels(await idle("decode", [inside(at), ...given()])));
  }
}
let points = [];
function plane() {
  const canvas = get("map"), context = canvas.getContext("2d");
  context.fillStyle = color("--panel");
  context.fillRect(0, 0, 880, 880);
  context.imageSmoothingEnabled = wide > 40;
  const over = back && view !== "points";
  if (over) context.drawImage(back, 0, 0, 880, 880);
  const dot = (at, size, inner, outer) => {
    context.beginPath();
    context.arc(toPixel(at[0], axes[0]), toPixel(at[1], axes[1], true), size, 0, 7);
    context.fillStyle = inner;
    context.fill();
    if (outer) {
      context.lineWidth = 1.5;
      context.strokeStyle = outer;
      context.stroke();
    }
  };
  if (view !== "images" || !back) {
    for (const i of points.keys()) {
      if (marked >= 0 && K.labels[i] !== marked) continue;
      const at = axes.map(k => coordinate(points[i], k));
      dot(at, marked >= 0 ? 6 : 4, over ? "#8ecbff" : color(marked >= 0 ? "--accent" : "--idle"), over ? "#0a1620" : "");
    }
  }
  const at = axes.map(k => coordinate(z, k));
  for (const [width, style] of [[8, "#0a1620"], [4, "#ffffff"]]) {
    context.lineWidth = width;
    context.strokeStyle = style;
    context.beginPath();
    context.arc(toPixel(at[0], axes[0]), toPixel(at[1], axes[1], true), 15, 0, 7);
    context.stroke();
  }
  get("across").textContent = `${named(axes[0])} →`;
  get("up").textContent = `${named(axes[1])} ↑`;
  canvas.setAttribute("aria-label", say(W.plane, named(axes[0]), named(axes[1]), ...at.map(v => number(v))));
}
function move(across, up) {
  z = home();
  [across, up].forEach((value, which) => {
    const reach = half(), middle = center(axes[which]);
    place(z, axes[which], Math.max(middle - reach, Math.min(middle + reach, value)));
  });
  z = inside(z);
  own = null;
  note = "";
  show();
}
if (!coded) {
  const canvas = get("map");
  const spot = event => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * 880, (event.clientY - box.top) / box.height * 880];
  };
  const drag = event => { const [x, y] = spot(event); move(toValue(x, axes[0]), toValue(y, axes[1], true)); };
  const nearest = ([x, y]) => {
    let found = -1, least = 15 ** 2;
    points.forEach((at, i) => {
      if (K.around || view === "images" || (marked >= 0 && K.labels[i] !== marked)) return;
      const far = (toPixel(coordinate(at, axes[0]), axes[0]) - x) ** 2 + (toPixel(coordinate(at, axes[1]), axes[1], true) - y) ** 2;
      if (far < least) [found, least] = [i, far];
    });
    return found;
  };
  let start = null, moved = false;
  canvas.onpointerdown = event => { start = spot(event); moved = false; };
  canvas.onpointermove = event => {
    if (!start) return;
    const [x, y] = spot(event);
    const [right, down] = [x - start[0], y - start[1]].map(Math.abs);  // a finger scrolls up and down
    if (!moved && (event.pointerType === "touch" ? right < Math.max(12, down) : right + down < 12)) return;
    if (!moved) canvas.setPointerCapture(event.pointerId);
    moved = true;
    drag(event);
  };
  canvas.onpointerup = event => {
    if (!start) return;
    const at = nearest(start), [x, y] = spot(event);
    if (!moved && Math.hypot(x - start[0], y - start[1]) > 24) start = null;  // no tap, and no drag
    else if (!moved && at >= 0) {
      choose(at);
      go(row("codes", at));
    } else drag(event);
    start = null;
  };
  canvas.onpointercancel = () => { start = null; };  // the page scrolls
  canvas.onkeydown = event => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!by) return;
    event.preventDefault();
    move(...axes.map((k, which) => coordinate(z, k) + by[which] * half() / (K.around ? N / 2 : 40)));
  };
  for (const button of document.querySelectorAll("[data-view]")) {
    button.onclick = () => {
      view = button.dataset.view;
      document.querySelectorAll("[data-view]").forEach(one => one.setAttribute("aria-pressed", one === button));
      plane();
    };
  }
  if (get("basis")) get("basis").onchange = event => {
    basis = event.target.value;
    axes = [0, Math.min(1, many() - 1)];
    points = measure();
    list();
    show();
    behind();
  };
  if (get("marked")) get("marked").onchange = event => { marked = +event.target.value; plane(); };
}
// A conditional model is given the class of the row.
function choose(at) {
  const which = K.given.findIndex(([name]) => name === "label");
  if (which >= 0 && K.labels.length) menus[which].selectedIndex = K.labels[at];
}
menus.forEach(menu => { menu.onchange = () => { show(); behind(); }; });

// Sliders.
let sliders = [];
function list() {
  sliders = Array.from({ length: many() }, (_, k) => {
    const { low, high: top } = scales[k];
    const input = make("input", { type: "range", min: low, max: top, step: (top - low) / (K.around ? 10 : 200) });
    const button = make("button", { type: "button", textContent: named(k), title: say(W.axis, named(k)), disabled: Boolean(K.around) });
    input.setAttribute("aria-label", named(k));
    input.oninput = () => { z = home(); place(z, k, +input.value); z = inside(z); own = null; note = ""; show(); };
    input.onchange = () => { if (!axes.includes(k)) behind(); };
    let before = null;
    input.onpointerdown = () => { before = Float32Array.from(z); };
    input.onpointercancel = () => { z = before; own = null; setTimeout(show); };  // the page scrolls
    button.onclick = () => { axes = axes.includes(k) ? [axes[1], axes[0]] : [k, axes[0]]; show(); behind(); };
    const out = make("output");
    const canvases = image ? [0, 1].map(() => make("canvas", { width: wide, height: high, ariaHidden: true })) : [];
    return { input, out, canvases, box: make("div", { className: "sl" }, button, ...canvases, input, out) };
  });
  get("sliders").replaceChildren(...sliders.map(one => one.box));
}

// Codes: a grid to paint.
const rows = coded ? K.grid[0] ?? Math.ceil(Math.sqrt(K.size)) : 0, columns = coded ? K.grid[1] ?? Math.ceil(K.size / rows) : 0;
let at = 0, picks = false;
function grid() {
  const canvas = get("tokens"), context = canvas.getContext("2d"), side = 640 / columns;
  canvas.height = Math.round(side * rows);
  context.fillStyle = color("--panel");
  context.fillRect(0, 0, 640, canvas.height);
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.font = `${Math.min(18, side / 3)}px system-ui, sans-serif`;
  z.forEach((code, i) => {
    const x = (i % columns) * side, y = Math.floor(i / columns) * side, shade = code / Math.max(1, K.levels - 1);
    context.fillStyle = `hsl(208 65% ${15 + 75 * shade}%)`;
    context.fillRect(x + 1, y + 1, side - 2, side - 2);
    context.fillStyle = shade > 0.5 ? "#10212f" : "#ffffff";
    if (side > 22) context.fillText(code, x + side / 2, y + side / 2);
    if (i === at) {
      context.lineWidth = 4;
      context.strokeStyle = "#ff9d2e";
      context.strokeRect(x + 3, y + 3, side - 6, side - 6);
    }
  });
  canvas.setAttribute("aria-valuetext", say(W.code, at, z[at]));
}
if (coded) {
  const canvas = get("tokens"), brush = get("brush");
  const set = (i, code) => {
    z[i] = code;
    own = null;
    note = say(W.code, i, code);
    show();
  };
  const held = () => { get("ink").textContent = brush.value; };
  brush.oninput = held;
  const touch = event => {
    const box = canvas.getBoundingClientRect();
    const c = Math.floor((event.clientX - box.left) / box.width * columns), r = Math.floor((event.clientY - box.top) / box.height * rows);
    const i = r * columns + c;
    if (c < 0 || c >= columns || r < 0 || i >= K.size || i < 0) return;
    at = i;
    if (picks) {
      brush.value = z[i];
      held();
      get("pick").click();
      grid();
    } else set(i, +brush.value);
  };
  let begun = 0;  // a finger that goes up or down scrolls, and paints nothing
  const finger = event => event.pointerType === "touch";
  canvas.onpointerdown = event => { begun = event.clientX; if (!finger(event)) touch(event); };
  canvas.onpointermove = event => { if (event.buttons && (!finger(event) || Math.abs(event.clientX - begun) > 12)) touch(event); };
  canvas.onpointerup = event => { if (finger(event)) touch(event); };
  canvas.onkeydown = event => {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const more = { "+": 1, "=": 1, "-": -1 }[event.key];
    if (!by && !more) return;
    event.preventDefault();
    if (by) at = Math.max(0, Math.min(K.size - 1, at + by));
    if (more) set(at, (z[at] + more + K.levels) % K.levels); else grid();
  };
  get("pick").onclick = () => { picks = !picks; get("pick").setAttribute("aria-pressed", picks); };
}

// Pins, and the walk between them.
const pins = [];
let playing = 0;
const classes = () => menus.map(menu => menu.selectedIndex);
const setClasses = chosen => menus.forEach((menu, k) => { menu.selectedIndex = chosen[k]; });
function pinned(at, content, back, chosen = classes()) {
  const name = say(W.pinned, pins.length + 1), button = make("button", { type: "button", onclick: back }, content || name);
  button.setAttribute("aria-label", name);
  if (!pins.length) get("film").replaceChildren();
  pins.push({ at, back, chosen });
  get("film").append(button);
  get("play").disabled = pins.length < 2;
}
if (get("pin")) get("pin").onclick = async () => {
  const kept = Float32Array.from(z), chosen = classes();
  const made = image && tile(levels(await send({ name: "decode", inputs: [kept, ...given()] })));
  pinned(kept, made, () => { setClasses(chosen); go(kept); }, chosen);
};
let film = false;
function setFilm(now) {
  film = now;
  playing += 1;  // a film that runs sees it and ends
  get("play").setAttribute("aria-pressed", now);
}
for (const kind of ["pointerdown", "keydown"]) {  // who moves something has the word
  document.addEventListener(kind, ({ target }) => {
    if (!film || !target.closest("button, input, select, canvas, label") || target === get("play")) return;
    setFilm(false);
  }, true);
}
get("play").onclick = async () => {
  setFilm(!film);
  if (!film) return;
  const mine = playing, turns = Array.from(z, () => Math.random());
  for (let t = 0; t <= pins.length - 1 && mine === playing; t += 1 / 40) {
    const k = Math.min(pins.length - 2, Math.floor(t)), part = Math.min(1, t - k);
    const [from, to] = [pins[k].at, pins[k + 1].at];
    setClasses(pins[part < 0.5 ? k : k + 1].chosen);
    base = k;
    z = from.map((v, i) => coded ? (turns[i] < part ? to[i] : v) : (1 - part) * v + part * to[i]);
    if (!coded) z = inside(z);
    own = null;
    note = "";
    await Promise.all([show(true), new Promise(done => setTimeout(done, 40))]);
  }
  if (mine !== playing) return;
  setFilm(false);
  pins[pins.length - 1].back();
};

if (get("random")) get("random").onclick = () => {
  const name = get("from") ? get("from").value : "prior" in K.named ? "prior" : "fitted";
  go(row(name, Math.floor(Math.random() * count(name))));
};
get("copy").onclick = async ({ target }) => {
  const before = target.textContent, text = JSON.stringify(Array.from(z, v => +v.toFixed(3)));
  try { await navigator.clipboard.writeText(text); } catch {
    const area = make("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  target.textContent = target.dataset.done;
  setTimeout(() => { target.textContent = before; }, 1500);
};

// An image of one's own: cut to shape, made as small, gray or in color, in the training's range.
function small(source, across, down) {
  let now = source, w = across, h = down;
  while (w >= 2 * wide && h >= 2 * high) {  // by halves, so that each pixel counts
    const half = make("canvas", { width: Math.floor(w / 2), height: Math.floor(h / 2) });
    half.getContext("2d").drawImage(now, 0, 0, w, h, 0, 0, half.width, half.height);
    [now, w, h] = [half, half.width, half.height];
  }
  const part = Math.min(w / wide, h / high), canvas = make("canvas", { width: wide, height: high });
  const context = canvas.getContext("2d");
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, wide, high);
  context.imageSmoothingQuality = "high";
  context.drawImage(now, (w - wide * part) / 2, (h - high * part) / 2, wide * part, high * part, 0, 0, wide, high);
  return pixels(context.getImageData(0, 0, wide, high));
}
function pixels({ data, width }, left = 0, top = 0) {
  const n = wide * high, made = new Float32Array(channels * n);
  for (let i = 0; i < n; i++) {
    const from = 4 * ((top + Math.floor(i / wide)) * width + left + i % wide);
    const [r, g, b] = [0, 1, 2].map(c => data[from + c] / 255);
    if (channels === 3) [made[i], made[n + i], made[2 * n + i]] = [r, g, b];
    else made[i] = 0.299 * r + 0.587 * g + 0.114 * b;
  }
  return made;
}
async function take(file) {
  if (!file || !get("drop")) return;
  let values, words = "";
  try {
    const map = await createImageBitmap(file);
    values = small(map, map.width, map.height);
  } catch {
    note = W.unread;
    show();
    return;
  }
  const rim = [0, high - 1].flatMap(r => [...values.subarray(r * wide, (r + 1) * wide)]);
  const edge = rim.reduce((sum, v) => sum + v) / rim.length;
  if (channels === 1 && Math.abs(edge - K.rim) > 0.3 + Math.abs(1 - edge - K.rim)) {
    values = values.map(v => 1 - v);
    words = W.inverted;
  }
  if (K.binary) values = values.map(Math.round);
  const code = await send({ name: "encode", inputs: [values.map(v => K.low + (K.high - K.low) * v), ...given()] });
  go(code, values, words);
}
if (get("drop")) {
  const drop = get("drop");
  get("file").onchange = event => { take(event.target.files[0]); event.target.value = ""; };
  for (const kind of ["dragover", "dragenter"]) addEventListener(kind, event => { event.preventDefault(); drop.classList.add("over"); });
  addEventListener("dragleave", () => drop.classList.remove("over"));
  addEventListener("drop", event => { event.preventDefault(); drop.classList.remove("over"); take(event.dataTransfer.files[0]); });
  addEventListener("paste", event => take([...event.clipboardData.files][0]));
}

// The rows to begin at.
async function read(src) {
  const picture = make("img", { src });
  await picture.decode();
  const { width, height } = picture, context = make("canvas", { width, height }).getContext("2d");
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, width, height);
}
async function starts() {
  const sheet = image ? await read(K.sheet) : null;
  const begin = K.starts.map((at, k) => {
    const values = sheet ? pixels(sheet, k * wide) : Float32Array.from(K.rows[k]);
    const known = K.labels.length && K.classes.length ? K.classes[K.labels[at]] : image ? "" : say(W.row, at + 1);
    const button = make("button", { type: "button" }, ...(image ? [tile(values)] : []), known);
    button.setAttribute("aria-label", known || say(W.row, at + 1));
    button.onclick = () => { base = k; choose(at); go(row("codes", at), values); };
    if (K.around) pinned(row("codes", at), image && tile(values), button.onclick);
    get("starts").append(button);
    return button;
  });
  begin[Math.floor(begin.length / 3)].click();
}

async function open() {
  const text = atob(get("pack").textContent), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const pack = await new Response(stream).arrayBuffer();
  const names = Object.keys(K.named), stored = names.map(name => K.arrays[K.named[name]]);
  const { kept } = engine({ nets: {}, arrays: stored }, pack);
  arrays = Object.fromEntries(names.map((name, k) => [name, kept[k].d.slice()]));
  if (K.tiles) tiles = await read(K.tiles);
  if (!K.around) await send({ spec: { nets: K.nets, arrays: K.arrays }, pack }, [pack]);
  if (!image) get("ex").classList.add("tabled");
  if (!coded) {
    points = measure();
    axes = [0, Math.min(1, many() - 1)];
    list();
  }
  await starts();
  get("ex").removeAttribute("aria-busy");
}
matchMedia("(prefers-color-scheme: dark)").onchange = () => show();
open().catch(error => { get("says").textContent = say(W.failed, error.message); });
