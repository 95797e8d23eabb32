"use strict";
// Behaviour of the report page: tables, tooltips, trade-off chart, case browser, comparison. No dependencies.
// All text from the study enters the page through textContent, never as markup.
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "style") for (const [name, v] of Object.entries(value)) node.style.setProperty(name, v);
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(node.dataset, value);
    else if (key in node && key !== "list") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function draw(tag, attributes = {}, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function metricOf(name) {
  return data.metrics[name] || { label: name, unit: "", direction: "none", arrow: "", percent: false, description: "", group: "" };
}

function format(name, value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (metricOf(name).percent) return `${(100 * value).toFixed(1)}%`;
  const places = Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 2 ? 2 : digits;
  const text = value.toFixed(places);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

function option(value, label, selected = false) {
  return make("option", { value, textContent: label, selected });
}

// --- theme, navigation, tooltips -------------------------------------------------------------------------------------

$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.style.colorScheme ? root.style.colorScheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.style.colorScheme = dark ? "light" : "dark";
});

const links = [...document.querySelectorAll(".links a")];
if ("IntersectionObserver" in window) {
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) links.forEach((link) => link.classList.toggle("here", link.hash === `#${entry.target.id}`));
    }
  }, { rootMargin: "-30% 0px -65% 0px" });
  document.querySelectorAll("main > section").forEach((section) => watcher.observe(section));
}

// The menu of analyses closes when one was chosen, and by a click elsewhere.
document.addEventListener("click", (event) => {
  const menu = document.querySelector("details.menu");
  if (menu && menu.open && (!menu.contains(event.target) || event.target.closest("a"))) menu.open = false;
});

const tip = $("tip");
function showTip(text, box) {
  tip.textContent = text;
  tip.hidden = false;
  const size = tip.getBoundingClientRect();
  const below = box.bottom + 8 + size.height < innerHeight;
  tip.style.left = `${Math.max(8, Math.min(box.left + box.width / 2 - size.width / 2, innerWidth - size.width - 8))}px`;
  tip.style.top = `${below ? box.bottom + 8 : Math.max(8, box.top - size.height - 8)}px`;
}
function hideTip() { tip.hidden = true; }
function tipOf(target) {
  const holder = target.closest?.("[data-tip], th[data-metric]");
  if (!holder) return null;
  if (holder.dataset.tip) return [holder.dataset.tip, holder];
  const metric = metricOf(holder.dataset.metric);
  const better = { higher: "Higher is better.", lower: "Lower is better." }[metric.direction] || "Descriptive, not ranked.";
  return [`${metric.label}: ${metric.description}\n${better}${metric.source ? `\n${metric.source}` : ""}`, holder];
}
for (const kind of ["pointerover", "focusin"]) {
  document.addEventListener(kind, (event) => {
    const found = tipOf(event.target);
    if (found) showTip(found[0], found[1].getBoundingClientRect());
    else hideTip();
  });
}
addEventListener("scroll", hideTip, { passive: true, capture: true });

// --- tables ----------------------------------------------------------------------------------------------------------

for (const table of document.querySelectorAll("table.results")) {
  const heads = [...table.tHead.querySelectorAll("th")];
  for (const button of table.tHead.querySelectorAll("button[data-sort]")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const column = Number(button.dataset.sort);
      const start = button.dataset.direction === "lower" ? "ascending" : "descending";
      const turned = start === "ascending" ? "descending" : "ascending";
      const next = { none: start, [start]: turned, [turned]: "none" }[head.getAttribute("aria-sort")];
      heads.forEach((other) => other.hasAttribute("aria-sort") && other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const key = (row) => row.children[column + 1].dataset.value;
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => row.dataset.order !== undefined).sort((a, b) => {
          const order = a.dataset.order - b.dataset.order;
          if (next === "none") return order;
          const [x, y] = [key(a), key(b)];
          if (x === "" || y === "") return (x === "") - (y === "") || order;
          return sign * (x - y) || order;
        });
        body.append(...rows);
      }
    });
  }
}
for (const tools of document.querySelectorAll(".table-tools")) {
  const table = $(tools.dataset.for);
  tools.querySelectorAll("[data-toggle]").forEach((box) => {
    box.addEventListener("change", () => table.classList.toggle(box.dataset.toggle, box.checked));
  });
  tools.querySelectorAll("[data-copy]").forEach((button) => {
    const label = button.textContent;
    button.addEventListener("click", async () => {
      const done = await copy(data.sources[button.dataset.copy] || "");
      button.textContent = done ? "Copied" : "Not copied";
      setTimeout(() => { button.textContent = label; }, 1400);
    });
  });
}
// A link to a table inside a closed part opens it.
function reveal() {
  const target = location.hash.length > 1 && $(location.hash.slice(1));
  if (!target) return;
  for (let part = target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();

for (const button of document.querySelectorAll("button[data-verdict]")) {
  button.addEventListener("click", () => {
    const all = [...document.querySelectorAll("button[data-verdict]")];
    const pressed = (other) => other.getAttribute("aria-pressed") === "true";
    // The first click shows one verdict alone, the last one that is taken away shows all again.
    if (all.every(pressed)) all.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    else button.setAttribute("aria-pressed", String(!pressed(button)));
    if (!all.some(pressed)) all.forEach((other) => other.setAttribute("aria-pressed", "true"));
    const shown = new Set(all.filter(pressed).map((other) => other.dataset.verdict));
    for (const row of $("claims-table").tBodies[0].rows) row.hidden = !shown.has(row.className);
  });
}
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea", { value: text, style: { position: "fixed", opacity: "0" } });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

// --- paired differences ----------------------------------------------------------------------------------------------

if ($("differences")) {
  const select = $("difference-metric");
  const names = [...new Set(data.differences.map((entry) => entry.metric))];
  names.forEach((name) => select.append(option(name, `${metricOf(name).label} ${metricOf(name).arrow}`, name === "success")));
  const labels = [...new Set(data.differences.flatMap((entry) => [entry.a, entry.b]))];
  const signed = (name, value) => {
    const points = metricOf(name).percent;
    const size = points ? (100 * Math.abs(value)).toFixed(1) : format(name, Math.abs(value));
    return (value < 0 ? "−" : "+") + size;
  };
  const show = () => {
    const name = select.value;
    const found = new Map();
    for (const e of data.differences) {
      if (e.metric !== name || e.d === null) continue;
      found.set(`${e.a}\n${e.b}`, e);
      const turn = (value) => (value === null ? null : -value);
      found.set(`${e.b}\n${e.a}`, { ...e, d: -e.d, low: turn(e.high), high: turn(e.low) });
    }
    const head = make("tr", {}, make("th", { scope: "col" }), ...labels.map((label) => make("th", { scope: "col", textContent: label })));
    const rows = labels.map((a) => make("tr", {}, make("th", { scope: "row", textContent: a }), ...labels.map((b) => {
      const e = found.get(`${a}\n${b}`);
      if (!e) return make("td", { textContent: a === b ? "" : "–" });
      const sure = e.p !== null && e.p < 0.05;
      const cell = make("td", { className: sure ? "sure" : "", tabIndex: 0 }, signed(name, e.d));
      if (e.low !== null) cell.append(make("small", { textContent: `${signed(name, e.low)} to ${signed(name, e.high)}` }));
      const unit = metricOf(name).percent ? " percentage points" : "";
      cell.dataset.tip = `${a} minus ${b}: ${signed(name, e.d)}${unit} in ${metricOf(name).label}\n${e.n} cases, p = ${
        e.p === null ? "unknown" : e.p < 0.0005 ? "under 0.0005" : e.p.toFixed(3)} after Holm’s correction`;
      return cell;
    })));
    $("differences").replaceChildren(make("table", { className: "matrix" }, make("thead", {}, head), make("tbody", {}, ...rows)));
  };
  select.addEventListener("change", show);
  show();
}

// --- trade-off chart -------------------------------------------------------------------------------------------------

const MARKERS = {
  o: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z", s: "M-4.6-4.6h9.2v9.2h-9.2Z", "^": "M0-5.6L5.4 4.4H-5.4Z", v: "M0 5.6L5.4-4.4H-5.4Z",
  D: "M0-6L5.4 0L0 6L-5.4 0Z", X: "M-5-2.6L-2.6-5L0-2.4L2.6-5L5-2.6L2.4 0L5 2.6L2.6 5L0 2.4L-2.6 5L-5 2.6L-2.4 0Z",
  P: "M-1.9-5.4h3.8v3.5h3.5v3.8h-3.5v3.5h-3.8v-3.5h-3.5v-3.8h3.5Z", h: "M0-6L5.2-3V3L0 6L-5.2 3V-3Z",
  "*": "M0-7L1.7-2.3L6.7-2.2L2.7 .9L4.1 5.7L0 2.9L-4.1 5.7L-2.7 .9L-6.7-2.2L-1.7-2.3Z",
  "<": "M-5.6 0L4.4-5.4V5.4Z", ">": "M5.6 0L-4.4-5.4V5.4Z", p: "M0-6L5.7-1.9L3.5 4.9H-3.5L-5.7-1.9Z",
  d: "M0-6.4L3.6 0L0 6.4L-3.6 0Z", 8: "M-2.2-5.3H2.2L5.3-2.2V2.2L2.2 5.3H-2.2L-5.3 2.2V-2.2Z", H: "M-3-5.2H3L6 0L3 5.2H-3L-6 0Z",
};
const plane = data.planes[0];
if (plane) chart();

function chart() {
  const info = (name) => {
    if (!name.startsWith("composite_")) return metricOf(name);
    const axis = name.slice(10);
    const ends = (plane.settings[`${axis}_anchors`] || []).map((end) => String(end).replaceAll("_", " "));
    return { label: `Composite ${axis}`, unit: ends.length === 2 ? `0 = ${ends[0]}, 1 = ${ends[1]}` : "", direction: "higher", arrow: "↑", percent: false };
  };
  const known = new Set(plane.points.flatMap((point) => Object.keys(point.metrics)));
  const fill = (select, groups, chosen) => {
    for (const [label, names] of groups) {
      const present = names.filter((name) => known.has(name));
      if (!present.length) continue;
      const group = make("optgroup", { label });
      present.forEach((name) => group.append(option(name, `${info(name).label} ${info(name).arrow}`, name === chosen)));
      select.append(group);
    }
  };
  const of = (group) => Object.keys(data.metrics).filter((name) => data.metrics[name].group === group);
  const axes = (first) => {
    const groups = [["Fidelity", ["composite_fidelity", ...of("fidelity")]], ["Controllability", ["composite_controllability", ...of("controllability")]],
      ["Quality", of("quality")], ["Distance to the true edit", of("truth")]];
    return first ? groups : [groups[1], groups[0], ...groups.slice(2)];
  };
  fill($("axis-x"), axes(true), known.has("id_sim") ? "id_sim" : "composite_fidelity");
  fill($("axis-y"), axes(false), known.has("success") ? "success" : "composite_controllability");
  for (const id of ["axis-x", "axis-y", "with-controls", "with-ablation"]) $(id).addEventListener("change", show);
  show();

  function show() {
    const names = [$("axis-x").value, $("axis-y").value];
    const kinds = names.map(info);
    const shown = plane.points.filter((point) => (point.control ? $("with-controls").checked : point.main || $("with-ablation").checked)
      && names.every((name) => point.metrics[name] && point.metrics[name][0] !== null));
    const near = shown.filter((point) => point.editor !== "random_image");
    const narrow = $("chart").clientWidth < 480;
    const [width, height, left, bottom, top, right] = narrow ? [420, 380, 52, 46, 12, 12] : [860, 500, 62, 50, 14, 26];
    const spans = names.map((name) => {
      const ends = (near.length ? near : shown).flatMap((point) => point.metrics[name].filter((v) => v !== null));
      const [low, high] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
      const pad = (high - low) * 0.07 || 0.1;
      return [low - pad, high + pad];
    });
    const scale = (axis, value) => {
      let share = (value - spans[axis][0]) / (spans[axis][1] - spans[axis][0]);
      if (kinds[axis].direction === "lower") share = 1 - share;
      share = share < 0 ? 0.02 : share > 1 ? 0.98 : share;  // what lies outside is drawn at the edge
      return axis === 0 ? left + share * (width - left - right) : height - bottom - share * (height - bottom - top);
    };
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `Scatter plot of ${kinds[1].label} over ${kinds[0].label} for ${shown.length} variants; the values are in the table above` });
    names.forEach((name, axis) => {
      const ticks = niceTicks(spans[axis][0], spans[axis][1], axis === 0 && narrow ? 4 : 6);
      const digits = Math.max(0, ...ticks.map((t) => (String(+(kinds[axis].percent ? 100 * t : t).toPrecision(6)).split(".")[1] || "").length));
      for (const value of ticks) {
        const at = scale(axis, value);
        const text = (kinds[axis].percent ? 100 * value : value).toFixed(digits).replace("-", "−");
        if (axis === 0) {
          svg.append(draw("line", { class: "grid", x1: at, x2: at, y1: top, y2: height - bottom }));
          svg.append(draw("text", { x: at, y: height - bottom + 17, "text-anchor": "middle" }, text));
        } else {
          svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: at, y2: at }));
          svg.append(draw("text", { x: left - 8, y: at + 4, "text-anchor": "end" }, text));
        }
      }
      const unit = kinds[axis].percent ? "%" : kinds[axis].unit;
      const title = `${kinds[axis].label}${unit ? ` (${unit})` : ""} ${kinds[axis].direction === "none" ? "" : "→ better"}`;
      if (axis === 0) svg.append(draw("text", { class: "axis", x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, title));
      else svg.append(draw("text", { class: "axis", transform: `translate(14 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, title));
    });
    const editors = shown.filter((point) => !point.control);
    const front = frontOf(editors, names, kinds);
    if (front.length > 1) {
      svg.append(draw("path", { class: "front", d: stairs(front.map((p) => names.map((name, axis) => scale(axis, p.metrics[name][0])))) }));
    }
    const groups = new Map();
    const boxes = [];
    const ordered = [...shown].sort((a, b) => b.control - a.control);
    for (const point of ordered) {
      const [x, y] = names.map((name, axis) => scale(axis, point.metrics[name][0]));
      const outside = names.some((name, axis) => point.metrics[name][0] < spans[axis][0] || point.metrics[name][0] > spans[axis][1]);
      const group = draw("g", { class: "point", tabindex: "0", opacity: outside ? 0.55 : 1 });
      const colour = point.colour;
      if (!outside) {
        names.forEach((name, axis) => {
          const [, low, high] = point.metrics[name];
          if (low === null || high === null) return;
          const [from, to] = [scale(axis, low), scale(axis, high)];
          group.append(draw("line", axis === 0 ? { x1: from, x2: to, y1: y, y2: y, stroke: colour, "stroke-width": 1.4, opacity: 0.6 }
            : { y1: from, y2: to, x1: x, x2: x, stroke: colour, "stroke-width": 1.4, opacity: 0.6 }));
        });
      }
      group.append(draw("circle", { cx: x, cy: y, r: 13, fill: "transparent" }));
      group.append(marker(point, `translate(${x} ${y}) scale(${point.main ? 1.15 : 0.8})`));
      group.dataset.tip = describe(point, names, info) + (outside ? "\nOutside the axes; drawn at the edge." : "");
      svg.append(group);
      groups.set(point.variant, group);
      boxes.push([x - 9, y - 9, 18, 18]);
    }
    if (!narrow) {
      for (const point of [...ordered].reverse()) {
        if (!point.main) continue;
        const [x, y] = names.map((name, axis) => scale(axis, point.metrics[name][0]));
        place(svg, boxes, point, x, y, { left, right: width - right, top, bottom: height - bottom });
      }
    }
    $("chart").replaceChildren(svg);
    // The front of the composites is one of all variants of the task, so its shares are shown where all of them are.
    const everyone = $("with-ablation").checked;
    const legend = shown.map((point) => {
      const icon = draw("svg", { viewBox: "-7 -7 14 14", "aria-hidden": "true" });
      icon.append(marker(point, ""));
      const chance = everyone && point.probability !== null && !point.control ? make("small", { textContent: `${Math.round(100 * point.probability)}%` }) : null;
      const entry = make("div", { data: { tip: describe(point, names, info) } }, icon, make("span", { textContent: point.label }), chance);
      const dim = (on) => groups.forEach((group, name) => group.classList.toggle("dim", on && name !== point.variant));
      entry.addEventListener("pointerenter", () => dim(true));
      entry.addEventListener("pointerleave", () => dim(false));
      return entry;
    });
    const note = plane.composite && everyone ? [make("p", { textContent: "Percentages: how often bootstrap resamples put the variant on the front of the composite scores, among all variants of the task." })] : [];
    $("chart-legend").replaceChildren(...legend, ...note);
  }

  function marker(point, transform) {
    return draw("path", { d: MARKERS[point.marker] || MARKERS.o, transform, fill: point.control ? "var(--card)" : point.colour,
      stroke: point.control ? point.colour : "var(--card)", "stroke-width": point.control ? 1.5 : 0.8 });
  }
}

// Between two points of the front nothing better than the worse of both has been attained.
function stairs(points) {
  return points.map(([x, y], index) => (index === 0 ? `M${x} ${y}` : `V${y}H${x}`)).join("");
}

function describe(point, names, info) {
  const lines = names.map((name) => {
    const [value, low, high] = point.metrics[name];
    return `${info(name).label}: ${format(name, value)}${low === null ? "" : ` (${format(name, low)} to ${format(name, high)})`}`;
  });
  return [point.label, ...lines].join("\n");
}

function frontOf(points, names, kinds) {
  const sign = kinds.map((kind) => (kind.direction === "lower" ? -1 : 1));
  const at = (point) => names.map((name, axis) => sign[axis] * point.metrics[name][0]);
  return points.filter((point) => {
    const [x, y] = at(point);
    return !points.some((other) => {
      const [u, v] = at(other);
      return u >= x && v >= y && (u > x || v > y);
    });
  }).sort((a, b) => at(a)[0] - at(b)[0]);
}

function niceTicks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((value) => value >= raw);
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-12; value += step) ticks.push(Number(value.toPrecision(10)));
  return ticks;
}

function place(svg, boxes, point, x, y, frame) {
  const width = 6.6 * point.label.length + 6;
  const spots = [[12, 4, "start"], [-12, 4, "end"], [0, -14, "middle"], [0, 24, "middle"], [11, -10, "start"], [11, 18, "start"], [-11, -10, "end"], [-11, 18, "end"]];
  for (const [dx, dy, anchor] of spots) {
    const start = x + dx - (anchor === "end" ? width : anchor === "middle" ? width / 2 : 0);
    const box = [start, y + dy - 11, width, 15];
    if (box[0] < frame.left || box[0] + width > frame.right + 20 || box[1] < frame.top || box[1] + 15 > frame.bottom) continue;
    const own = (other) => other[0] === x - 9 && other[1] === y - 9;
    if (boxes.some((other) => !own(other) && box[0] < other[0] + other[2] && other[0] < box[0] + box[2] && box[1] < other[1] + other[3] && other[1] < box[1] + box[3])) continue;
    boxes.push(box);
    svg.append(draw("text", { class: `label${point.control ? " control" : ""}`, x: x + dx, y: y + dy, "text-anchor": anchor, "pointer-events": "none" }, point.label));
    return;
  }
}

// --- images ----------------------------------------------------------------------------------------------------------

const addresses = new Map();
function address(item) {
  if (!addresses.has(item.strip)) {
    const bytes = Uint8Array.from(atob(item.strip.slice(item.strip.indexOf(",") + 1)), (c) => c.charCodeAt(0));
    addresses.set(item.strip, URL.createObjectURL(new Blob([bytes], { type: "image/webp" })));
  }
  return addresses.get(item.strip);
}
// A case's images lie side by side in one strip; `object-position` shows one square of it.
function tile(item, index, alt, className = "") {
  const image = make("img", { src: address(item), alt, className, draggable: false, decoding: "async" });
  image.style.objectPosition = `${item.count > 1 ? (100 * index) / (item.count - 1) : 0}% 50%`;
  return image;
}

const loaded = new Map();
function pixels(item, index) {
  if (!loaded.has(item.strip)) {
    loaded.set(item.strip, new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = reject;
      image.src = address(item);
    }));
  }
  return loaded.get(item.strip).then((image) => {
    const side = image.naturalHeight;
    const canvas = make("canvas", { width: side, height: side });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, index * side, 0, side, side, 0, 0, side, side);
    return context.getImageData(0, 0, side, side);
  });
}

const outlines = new Map();
function outline(item, index, colour) {
  const name = `${index} ${item.strip}`;
  if (!outlines.has(name)) {
    outlines.set(name, pixels(item, index).then(({ data: values, width: side }) => new Promise((resolve) => {
      const factor = Math.max(2, Math.round(512 / side));
      const canvas = make("canvas", { width: side * factor, height: side * factor });
      const context = canvas.getContext("2d");
      const inside = (x, y) => x >= 0 && y >= 0 && x < side && y < side && values[4 * (y * side + x)] > 127;
      context.beginPath();
      for (let y = 0; y <= side; y += 1) {
        for (let x = 0; x <= side; x += 1) {
          if (inside(x, y) !== inside(x - 1, y)) { context.moveTo(x * factor, y * factor); context.lineTo(x * factor, (y + 1) * factor); }
          if (inside(x, y) !== inside(x, y - 1)) { context.moveTo(x * factor, y * factor); context.lineTo((x + 1) * factor, y * factor); }
        }
      }
      context.lineCap = "square";
      for (const [stroke, thickness] of [["#ffffff", 10], [colour, 5]]) {
        context.strokeStyle = stroke;
        context.lineWidth = thickness;
        context.stroke();
      }
      canvas.toBlob((blob) => resolve(URL.createObjectURL(blob)));
    })));
  }
  return outlines.get(name);
}
function addOutline(frame, item) {
  for (const [index, colour] of item.target >= 0 ? [[item.region, "#d5006d"], [item.target, "#0072b2"]] : [[item.mask, "#d5006d"]]) {
    if (index >= 0) outline(item, index, colour).then((url) => frame.append(make("img", { src: url, alt: "", className: "outline" })));
  }
}

let current = data.galleries[0];
let listed = [];  // the cases of the browser, in its order
let view;  // what the comparison shows
const words = (item) => item.instruction || item.caption || item.id;
function variantIndex(gallery, name) { return gallery.variants.findIndex((variant) => variant.name === name); }

function summaryOf(gallery, item, index) {
  const score = (name) => item.scores[index][gallery.metrics.indexOf(name)];
  const parts = [];
  if (gallery.metrics.includes("success") && score("success") !== null && score("success") !== undefined) parts.push(score("success") >= 0.5 ? "✓ success" : "✗ missed");
  if (gallery.metrics.includes("id_sim") && score("id_sim") !== null && score("id_sim") !== undefined) parts.push(`ID ${format("id_sim", score("id_sim"), 2)}`);
  for (const name of ["iou_target", "psnr_source"]) {
    const value = gallery.metrics.includes(name) ? score(name) : null;
    if (!parts.length && value !== null && value !== undefined) parts.push(`${metricOf(name).label} ${format(name, value, 2)} ${metricOf(name).unit}`.trim());
  }
  return parts.join(" · ");
}

function editFrame(gallery, item, index, withOutline) {
  const variant = gallery.variants[index];
  const reason = item.failures[index];
  if (reason !== undefined) return make("button", { type: "button", className: "frame failed", data: { tip: `${variant.label} failed: ${reason}` }, textContent: "failed" });
  if (item.tiles[index] < 0) return make("div", { className: "frame absent", textContent: "not run" });
  const frame = make("button", { type: "button", className: "frame", onclick: () => openViewer(gallery, item, index) },
    tile(item, item.tiles[index], `${variant.label}: ${words(item)}`));
  frame.addEventListener("pointerenter", () => {
    if (frame.querySelector(".under")) return;
    const under = tile(item, item.source, "", "under ready");
    frame.append(under, make("span", { className: "tag ready", textContent: "source" }));
  }, { once: true });
  if (withOutline) addOutline(frame, item);
  return frame;
}

function groundFrame(item, index, label, withOutline) {
  const frame = make("div", { className: "frame plainframe" }, tile(item, index, `${label}: ${words(item)}`));
  if (withOutline) addOutline(frame, item);
  return make("figure", { className: "tile ground" }, frame, make("figcaption", {}, make("span", { className: "who", textContent: label })));
}

function caseCard(gallery, item, shown, masks) {
  const text = make("div", {}, make("h4", { textContent: words(item) }));
  if (item.caption && item.caption !== words(item)) text.append(make("p", { textContent: item.caption }));
  if (item.origin === "free_form") text.append(make("p", { textContent: "free-form instruction" }));
  text.append(make("p", { className: "id", textContent: item.id }));
  const tiles = make("div", { className: "tiles" });
  tiles.append(groundFrame(item, item.source, item.mask >= 0 && masks.ground ? (item.target >= 0 ? "Source and drag" : "Source and mask") : "Source", masks.ground));
  if (item.truth >= 0) tiles.append(groundFrame(item, item.truth, "True edit", masks.all));
  for (const index of shown) {
    const variant = gallery.variants[index];
    tiles.append(make("figure", { className: "tile", style: { "--c": variant.colour } }, editFrame(gallery, item, index, masks.all),
      make("figcaption", {}, make("span", { className: "who", textContent: variant.label, title: variant.label }),
        make("span", { className: "sub", textContent: summaryOf(gallery, item, index) || "\u00a0" }))));
  }
  return make("article", { className: "case" }, text, tiles);
}

const editorsShown = (gallery) => gallery.variants.map((variant, index) => [variant, index]).filter(([variant]) => variant.first && !variant.control).map(([, index]) => index);

if (current) {
  const byId = new Map(current.cases.map((item) => [item.id, item]));
  $("chosen").append(...current.chosen.map((id) => caseCard(current, byId.get(id), editorsShown(current), { ground: true, all: false })));
  const row = make("div", { className: "worst-row" });
  for (const [name, ids] of Object.entries(current.worst)) {
    const index = variantIndex(current, name);
    const metric = current.metrics.indexOf("id_sim");
    const pairs = ids.map((id) => byId.get(id)).filter(Boolean).map((item) => {
      const source = make("div", { className: "frame plainframe" }, tile(item, item.source, `Source: ${words(item)}`));
      return make("div", { className: "pair" }, source, editFrame(current, item, index, false),
        make("span", { className: "sub", textContent: metric < 0 ? words(item) : `ID ${format("id_sim", item.scores[index][metric], 2)} · ${item.attribute.replaceAll("_", " ")}` }));
    });
    row.append(make("div", { style: { "--c": current.variants[index].colour } }, make("h4", { textContent: current.variants[index].label }), make("div", { className: "pairs" }, ...pairs)));
  }
  $("worst").append(row);
  browser();
}

function browser() {
  const PAGE = 8;
  let limit = PAGE;
  let shown = new Set();
  const controls = { attribute: $("f-attribute"), metric: $("f-metric"), editor: $("f-editor"), order: $("f-order"), failed: $("f-failed"), mask: $("f-mask"), text: $("f-text") };
  if (data.galleries.length > 1) {
    document.querySelector(".task-filter").hidden = false;
    data.galleries.forEach((gallery, index) => $("f-task").append(option(index, gallery.task)));
    $("f-task").addEventListener("change", () => { current = data.galleries[$("f-task").value]; setUp(); });
  }
  for (const [key, control] of Object.entries(controls)) control.addEventListener(key === "text" ? "input" : "change", () => { limit = PAGE; show(); });
  $("more").addEventListener("click", () => { limit += 2 * PAGE; show(); });
  setUp();

  function setUp() {
    const kinds = [...new Set(current.cases.map((item) => item.attribute || item.type))].sort();
    controls.attribute.replaceChildren(option("", "all"), ...kinds.map((kind) => option(kind, kind.replaceAll("_", " "))));
    controls.metric.replaceChildren(option("", "case number"), ...current.metrics.map((name) => option(name, metricOf(name).label)));
    const editors = current.variants.map((variant, index) => [variant, index]).filter(([variant]) => !variant.control);
    controls.editor.replaceChildren(option("mean", "all editors shown"), ...editors.map(([variant, index]) => option(index, variant.label)));
    shown = new Set(editorsShown(current));
    $("f-variants").replaceChildren(...current.variants.map((variant, index) => make("button", {
      type: "button", textContent: variant.label, style: { "--c": variant.colour }, ariaPressed: String(shown.has(index)),
      onclick: (event) => {
        if (shown.has(index)) shown.delete(index); else shown.add(index);
        event.currentTarget.ariaPressed = String(shown.has(index));
        show();
      },
    })));
    limit = PAGE;
    show();
  }

  function key(item) {
    const column = current.metrics.indexOf(controls.metric.value);
    const chosen = controls.editor.value === "mean" ? [...shown].filter((index) => !current.variants[index].control) : [Number(controls.editor.value)];
    const values = chosen.map((index) => item.scores[index][column]).filter((value) => value !== null && value !== undefined);
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
  }

  function show() {
    const query = controls.text.value.trim().toLowerCase();
    let found = current.cases.filter((item) => (!controls.attribute.value || (item.attribute || item.type) === controls.attribute.value)
      && (!controls.failed.checked || Object.keys(item.failures).length)
      && (!query || `${item.instruction} ${item.caption} ${item.id}`.toLowerCase().includes(query)));
    if (controls.metric.value) {
      const better = metricOf(controls.metric.value).direction === "lower" ? 1 : -1;
      const sign = controls.order.value === "best" ? better : -better;
      found = found.map((item) => [key(item), item]).sort(([a], [b]) => (a === null) - (b === null) || sign * (a - b)).map(([, item]) => item);
    }
    const order = [...shown].sort((a, b) => a - b);
    $("cases").replaceChildren(...found.slice(0, limit).map((item) => caseCard(current, item, order, { ground: controls.mask.checked, all: controls.mask.checked })));
    let text = `${Math.min(limit, found.length)} of ${found.length} cases`;
    if (found.length < current.cases.length) text += ` that match, of ${current.cases.length}`;
    if (current.total > current.cases.length + current.unreadable) text += `; the page holds ${current.cases.length} of the study’s ${current.total}, chosen by rule to keep it small`;
    if (current.unreadable) text += `; ${current.unreadable} with an unreadable source are left out`;
    $("count").textContent = `${text}.`;
    $("more").hidden = found.length <= limit;
    listed = found;
  }
}

// --- comparison ------------------------------------------------------------------------------------------------------

function openViewer(gallery, item, index) {
  view = { gallery, item, index, mode: view?.mode || "slider", against: "source", masked: false, split: 50, flicker: false };
  showViewer();
  if (!$("viewer").open) $("viewer").showModal();
}

function showViewer() {
  const { gallery, item, index, mode } = view;
  const variant = gallery.variants[index];
  const base = view.against === "truth" && item.truth >= 0 ? item.truth : item.source;
  const baseName = base === item.truth && view.against === "truth" ? "True edit" : "Source";
  const stage = make("div", { className: "stage" });
  const before = () => tile(item, base, `${baseName}: ${words(item)}`);
  const after = () => tile(item, item.tiles[index], `${variant.label}: ${words(item)}`);
  const corner = (text, side) => make("span", { className: `corner ${side}`, textContent: text });
  let slider = null;
  if (item.tiles[index] < 0) {
    stage.append(make("div", { className: "frame failed", style: { width: "100%", height: "100%" }, textContent: item.failures[index] || "not run" }));
  } else if (mode === "slider") {
    const top = before();
    const divider = make("span", { className: "divider" });
    const move = (share) => {
      view.split = Math.min(100, Math.max(0, share));
      top.style.clipPath = `inset(0 ${100 - view.split}% 0 0)`;
      divider.style.left = `${view.split}%`;
      if (slider) slider.value = view.split;
    };
    stage.append(after(), top, divider, corner(baseName, "left"), corner(variant.label, "right"));
    slider = make("input", { type: "range", className: "slider", min: 0, max: 100, value: view.split, ariaLabel: "Position of the divider", oninput: () => move(Number(slider.value)) });
    const drag = (event) => { const box = stage.getBoundingClientRect(); move((100 * (event.clientX - box.left)) / box.width); };
    stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); drag(event); });
    stage.addEventListener("pointermove", (event) => { if (event.buttons || event.pointerType === "mouse") drag(event); });
    move(view.split);
  } else if (mode === "flicker") {
    stage.append(view.flicker ? before() : after(), corner(view.flicker ? baseName : variant.label, "left"));
    stage.addEventListener("pointerdown", () => { view.flicker = !view.flicker; showViewer(); });
  } else if (mode === "side") {
    stage.classList.add("side");
    stage.append(make("span", {}, before(), corner(baseName, "left")), make("span", {}, after(), corner(variant.label, "left")));
  } else {
    const canvas = make("canvas", { role: "img", ariaLabel: `Difference between ${baseName} and ${variant.label}` });
    stage.append(canvas, corner("difference × 4", "left"));
    Promise.all([pixels(item, base), pixels(item, item.tiles[index])]).then(([a, b]) => {
      canvas.width = a.width;
      canvas.height = a.height;
      const context = canvas.getContext("2d");
      const result = context.createImageData(a.width, a.height);
      for (let i = 0; i < a.data.length; i += 1) result.data[i] = i % 4 === 3 ? 255 : Math.min(255, 4 * Math.abs(a.data[i] - b.data[i]));
      context.putImageData(result, 0, 0);
    });
  }
  if (view.masked && item.mask >= 0) {
    if (mode === "side") [...stage.children].forEach((child) => addOutline(child, item));
    else addOutline(stage, item);
  }
  const choice = (name, label) => make("button", { type: "button", textContent: label, ariaPressed: String(view.mode === name), onclick: () => { view.mode = name; showViewer(); } });
  const modes = make("div", { className: "modes" }, choice("slider", "Slider"), choice("flicker", "Flicker"), choice("side", "Side by side"), choice("difference", "Difference"),
    item.mask >= 0 ? make("button", { type: "button", textContent: "Mask", ariaPressed: String(view.masked), onclick: () => { view.masked = !view.masked; showViewer(); } }) : null,
    item.truth >= 0 ? make("button", { type: "button", textContent: "Against the true edit", ariaPressed: String(view.against === "truth"), onclick: () => { view.against = view.against === "truth" ? "source" : "truth"; showViewer(); } }) : null);
  const truth = variantIndex(gallery, "true_edit");
  const columns = [index, ...(truth >= 0 && truth !== index ? [truth] : [])];
  const rows = gallery.metrics.filter((name) => columns.some((c) => item.scores[c][gallery.metrics.indexOf(name)] !== null)).map((name) => make("tr", {},
    make("th", { scope: "row", textContent: `${metricOf(name).label} ${metricOf(name).arrow}`, data: { metric: name } }),
    ...columns.map((c) => make("td", { textContent: metricOf(name).percent ? (item.scores[c][gallery.metrics.indexOf(name)] === null ? "–" : item.scores[c][gallery.metrics.indexOf(name)] ? "yes" : "no")
      : format(name, item.scores[c][gallery.metrics.indexOf(name)]) }))));
  const table = make("table", {}, make("thead", {}, make("tr", {}, make("th"), ...columns.map((c) => make("td", { textContent: gallery.variants[c].label })))), make("tbody", {}, ...rows));
  const picker = make("select", { ariaLabel: "Variant", onchange: (event) => { view.index = Number(event.currentTarget.value); showViewer(); } },
    ...gallery.variants.map((v, i) => option(i, v.label, i === index)));
  const keys = make("p", { className: "keys" });
  for (const [key, text] of [["←", ""], ["→", " variant  "], ["↑", ""], ["↓", " case  "], ["1", " to "], ["4", " mode  "], ["space", " flicker  "], ["m", " mask  "], ["t", " truth  "], ["esc", " close"]]) keys.append(make("kbd", { textContent: key }), text);
  const header = make("header", {}, make("div", {}, make("h3", { textContent: words(item) }), make("p", { textContent: item.caption }), make("p", { textContent: item.id })),
    make("span", { className: "spacer" }), make("button", { type: "button", className: "quiet", textContent: "Close", onclick: () => $("viewer").close() }));
  const focused = document.activeElement?.textContent;
  $("viewer").replaceChildren(make("div", { className: "viewer" }, header, make("div", {}, stage, slider, modes, keys), make("div", {}, picker, table)));
  [...$("viewer").querySelectorAll("button")].find((button) => focused && button.textContent === focused)?.focus();
  history.replaceState(null, "", `#case=${encodeURIComponent(item.id)}&edit=${encodeURIComponent(variant.name)}`);
}

if (current) {
  $("viewer").addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));
  $("viewer").addEventListener("click", (event) => { if (event.target === $("viewer")) $("viewer").close(); });
  $("viewer").addEventListener("keydown", (event) => {
    if (event.target.matches("select, input[type=range]") && event.key.startsWith("Arrow")) return;
    const { gallery, item } = view;
    const turn = (step) => {
      let next = view.index;
      do next = (next + step + gallery.variants.length) % gallery.variants.length; while (item.tiles[next] < 0 && next !== view.index);
      view.index = next;
    };
    const step = (by) => {
      const list = listed.includes(item) ? listed : gallery.cases;
      view.item = list[(list.indexOf(item) + by + list.length) % list.length];
    };
    const modes = { 1: "slider", 2: "flicker", 3: "side", 4: "difference" };
    if (event.key === "ArrowLeft") turn(-1);
    else if (event.key === "ArrowRight") turn(1);
    else if (event.key === "ArrowUp") step(-1);
    else if (event.key === "ArrowDown") step(1);
    else if (event.key === "m") view.masked = !view.masked;
    else if (event.key === "t") view.against = view.against === "truth" ? "source" : "truth";
    else if (modes[event.key]) view.mode = modes[event.key];
    else if (event.key === " " && !event.target.matches("button")) { view.mode = "flicker"; view.flicker = !view.flicker; }
    else return;
    event.preventDefault();
    showViewer();
  });
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const gallery of data.galleries) {
    const item = gallery.cases.find((entry) => entry.id === wanted.get("case"));
    if (item) openViewer(gallery, item, Math.max(0, variantIndex(gallery, wanted.get("edit"))));
  }
}

// --- meaning of the metrics --------------------------------------------------------------------------------------------

for (const metric of Object.values(data.metrics)) {
  if (!metric.description) continue;
  $("metric-terms").append(make("dt", { textContent: `${metric.label} ${metric.arrow}` }), make("dd", { textContent: `${metric.description} ${metric.source}` }));
}
})();
