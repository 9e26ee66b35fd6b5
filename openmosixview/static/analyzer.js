// openMosixanalyzer: load and memory over the collected time, for the cluster and for each node.

import { follow, get, post } from "./api.js";
import { Chart, lineColour, statistics } from "./chart.js";
import { attribute, h, icon, replace, text } from "./dom.js";
import { bytes, moment } from "./format.js";
import { attempt, startShell } from "./shell.js";
import { facts, openWindow } from "./window.js";

const REFRESH_MS = 5000;
const LENGTHS = [
  ["15 minutes", 900],
  ["1 hour", 3600],
  ["12 hours", 43200],
  ["1 day", 86400],
  ["7 days", 604800],
  ["All", 0],
];
const COMPARED_AT_MOST = 8;
const SHORTEST_S = 120;
const LONGEST_S = 400 * 86400;

const page = document.getElementById("page");
const view = { quantity: "load", start: 0, end: 0, length: 3600, history: "", compared: new Set() };
let known = { span: null, nodes: {}, saved: [], now: 0 };
let answer = null;

const load = h("button", { type: "button", onclick: () => choose("load") }, "Load");
const memory = h("button", { type: "button", onclick: () => choose("mem") }, "Memory");
const lengths = h("select", { "aria-label": "Time shown" }, LENGTHS.map(([label, value]) => h("option", { value: String(value) }, label)), h("option", { value: "zoom", hidden: true }, "Zoomed"));
const histories = h("select", { "aria-label": "History" });
const live = h("input", { type: "checkbox" });
const range = h("span", { class: "soft" });
const csv = h("a", { class: "button", download: true }, "CSV");
const json = h("a", { class: "button", download: true }, "JSON");
const empty = h("div", { class: "card empty", hidden: true });
const charts = h("div", { class: "charts" });
const title = h("h1", {}, "Analyzer");
live.checked = true;
lengths.value = String(view.length);

replace(
  page,
  h(
    "div",
    { class: "page-head" },
    title,
    range,
  ),
  h(
    "div",
    { class: "card filters alone no-print" },
    h("span", { class: "pair", role: "group", "aria-label": "What is shown" }, load, memory),
    h("label", {}, "Time", lengths),
    h("button", { type: "button", onclick: () => zoomTo(view.start - (view.end - view.start) / 2, view.end + (view.end - view.start) / 2) }, "Zoom out"),
    h("label", {}, live, "Follow"),
    h("label", {}, "History", histories),
    h("span", { class: "grow" }),
    h("a", { class: "button", href: "/history" }, icon("clock"), "History"),
    csv,
    json,
    h("button", { type: "button", onclick: () => print() }, icon("print"), "Print"),
  ),
  empty,
  charts,
);

const parts = new Map();

function part(key, name) {
  if (parts.has(key)) return parts.get(key);
  const chart = new Chart(name, zoomTo);
  const heading = h("h2", {}, name);
  const stats = h("span", { class: "stats" });
  const compare = h("input", { type: "checkbox", "aria-label": `Compare ${name}` });
  compare.addEventListener("change", () => {
    if (compare.checked) view.compared.add(key);
    else view.compared.delete(key);
    draw();
  });
  const isNode = key !== "all" && key !== "compared";
  const element = h(
    "section",
    { class: "card chart" },
    h(
      "div",
      { class: "chart-head" },
      heading,
      chart.readout,
      stats,
      isNode ? h("label", { class: "soft no-print" }, compare, "Compare") : null,
      h("button", { type: "button", class: "tool", title: "Minimum, maximum, average", "aria-label": `Statistics of ${name}`, onclick: () => openStatistics(key, name) }, icon("chart")),
      h("button", { type: "button", class: "tool", title: "Save as PNG", "aria-label": `Save ${name} as PNG`, onclick: () => chart.png(`openmosix-${key}.png`) }, icon("save")),
      h("button", { type: "button", class: "tool", title: "Print this graph", "aria-label": `Print ${name}`, onclick: () => printOnly(element) }, icon("print")),
    ),
    chart.canvas,
    h("div", { class: "legend" }),
  );
  const made = { chart, element, stats, heading, legend: element.lastChild };
  parts.set(key, made);
  return made;
}

function printOnly(element) {
  for (const other of charts.children) other.classList.toggle("no-print", other !== element);
  print();
  for (const other of charts.children) other.classList.remove("no-print");
}

// Load and memory of the whole cluster: nodes weigh by their processors, or by their memory.
function clusterLine() {
  const sums = new Map();
  for (const [node, lines] of Object.entries(answer.nodes)) {
    const weight = (view.quantity === "load" ? known.nodes[node]?.cpus : known.nodes[node]?.total_bytes) || 1;
    for (const [t, value, min, max] of lines[view.quantity]) {
      const cap = (one) => (view.quantity === "load" ? Math.min(1000, one) : one);
      const sum = sums.get(t) ?? [0, 0, 0, 0];
      sums.set(t, [sum[0] + weight, sum[1] + weight * cap(value), sum[2] + weight * cap(min), sum[3] + weight * cap(max)]);
    }
  }
  return [...sums].sort((a, b) => a[0] - b[0]).map(([t, [weight, value, min, max]]) => [t, value / weight, min / weight, max / weight]);
}

function draw() {
  attribute(load, "aria-pressed", view.quantity === "load");
  attribute(memory, "aria-pressed", view.quantity === "mem");
  if (!answer) return;
  const word = view.quantity === "load" ? "load" : "memory";
  const nodes = Object.keys(answer.nodes).map(Number).sort((a, b) => a - b);
  const common = { start: answer.start, end: answer.end, step: answer.step, marks: answer.marks, band: true };
  const wanted = [];
  const one = (key, name, points, moves) => {
    const made = part(key, name);
    text(made.heading, `${name}, ${word}`);
    made.chart.show({ ...common, moves, lines: [{ name, points, colour: lineColour(view.quantity === "load" ? 0 : 1) }] });
    const found = statistics(points);
    text(made.stats, found ? `min ${percent(found.min)} · max ${percent(found.max)} · average ${percent(found.average)}` : "nothing recorded");
    wanted.push(made.element);
  };
  one("all", "All nodes", clusterLine(), answer.moves);
  const compared = nodes.filter((node) => view.compared.has(String(node))).slice(0, COMPARED_AT_MOST);
  if (compared.length) {
    const made = part("compared", "Compared nodes");
    text(made.heading, `Compared nodes, ${word}`);
    const lines = compared.map((node, index) => ({ name: `node ${node}`, points: answer.nodes[node][view.quantity], colour: lineColour(index) }));
    made.chart.show({ ...common, moves: [], lines });
    replace(made.legend, lines.map(({ name, colour }) => legendEntry(name, colour)));
    wanted.push(made.element);
  }
  for (const node of nodes) {
    const moves = answer.moves.filter((move) => move.from === node || move.to === node);
    one(String(node), `Node ${node}${known.nodes[node] ? `, ${known.nodes[node].address}` : ""}`, answer.nodes[node][view.quantity], moves);
  }
  wanted.forEach((element, index) => charts.children[index] !== element && charts.insertBefore(element, charts.children[index] ?? null));
  while (charts.children.length > wanted.length) charts.lastChild.remove();
  text(range, `${moment(answer.start)} – ${moment(answer.end)}`);
}

function legendEntry(name, colour) {
  const swatch = h("i");
  swatch.style.background = colour;
  return h("span", {}, swatch, name);
}

const percent = (perMille) => `${(perMille / 10).toFixed(1)}%`;

function openStatistics(key, name) {
  const made = openWindow(`Statistics of ${name}`);
  const nodes = key === "all" || key === "compared" ? Object.keys(answer.nodes) : [key];
  const before = view.quantity;
  for (const node of nodes) {
    const info = known.nodes[node];
    const rows = ["load", "mem"].map((quantity) => [quantity, statistics(answer.nodes[node]?.[quantity] ?? [])]);
    made.body.append(
      h("h3", {}, `Node ${node}`),
      facts([
        ["From", moment(answer.start)],
        ["To", moment(answer.end)],
        ...rows.flatMap(([quantity, found]) => (found ? [[`${quantity === "load" ? "Load" : "Memory"}: min / max / average`, `${percent(found.min)} / ${percent(found.max)} / ${percent(found.average)}`]] : [])),
        ...(info ? [["Processors", String(info.cpus)], ["Memory", bytes(info.total_bytes)], ["Speed", String(info.speed)]] : []),
      ]),
    );
  }
  view.quantity = before;
}

function choose(quantity) {
  view.quantity = quantity;
  draw();
}

function zoomTo(start, end) {
  live.checked = false;
  view.length = null;
  lengths.value = "zoom";
  const middle = (start + end) / 2;
  const half = Math.max(SHORTEST_S, Math.min(LONGEST_S, end - start)) / 2;
  Object.assign(view, { start: middle - half, end: middle + half });
  refresh();
}

async function refresh() {
  try {
    known = await get(`/api/history?history=${encodeURIComponent(view.history)}`);
  } catch (refusal) {
    return showEmpty("The history cannot be shown", refusal.message);
  }
  fillHistories();
  if (!known.span) {
    if (known.code && known.code !== "no-history") return showEmpty("The history cannot be shown", known.why, false);
    return showEmpty("Nothing was collected yet", "Start the collector: it records load, memory and migrations of all nodes every ten seconds.", true);
  }
  const last = view.history ? known.span[1] : Math.max(known.now, known.span[1]);
  if (view.length !== null) {
    view.end = Math.ceil(last);
    // Not more than was collected: a young history fills its graph.
    const first = Math.min(known.span[0], view.end - SHORTEST_S);
    view.start = view.length ? Math.max(view.end - view.length, first) : first;
  }
  const times = `from=${Math.round(view.start)}&to=${Math.round(view.end)}&history=${encodeURIComponent(view.history)}`;
  try {
    answer = await get(`/api/history/series?${times}`);
  } catch (refusal) {
    return showEmpty("The history cannot be shown", refusal.message);
  }
  csv.href = `/api/history/export.csv?${times}`;
  json.href = `/api/history/export.json?${times}`;
  empty.hidden = true;
  charts.hidden = false;
  draw();
}

function showEmpty(heading, words, canStart = false) {
  empty.hidden = false;
  charts.hidden = true;
  const key = heading + words;
  if (empty.dataset.key === key) return;
  empty.dataset.key = key;
  const start = h("button", { type: "button", class: "main", onclick: () => attempt(() => post("/api/collector", { order: "start" })).then(refresh) }, "Start the collector");
  replace(empty, h("strong", {}, heading), h("p", {}, words), canStart ? start : null);
}

function fillHistories() {
  const key = known.saved.join(" ");
  if (histories.dataset.key === key && histories.firstChild) return;
  histories.dataset.key = key;
  replace(histories, h("option", { value: "" }, "running"), known.saved.map((name) => h("option", { value: name }, name.replace(/^history-|\.db$/g, ""))));
  histories.value = view.history;
}

lengths.addEventListener("change", () => {
  view.length = Number(lengths.value);
  live.checked = !view.history;
  refresh();
});
histories.addEventListener("change", () => {
  view.history = histories.value;
  view.length = view.history ? 0 : 3600;
  lengths.value = String(view.length);
  refresh();
});
// Paper is light: the graphs are drawn again for it, and for the screen afterwards.
addEventListener("beforeprint", () => parts.forEach(({ chart }) => chart.draw(2, true)));
addEventListener("afterprint", () => draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
follow("collector", () => !empty.hidden && refresh());

async function loop() {
  if (live.checked && !document.hidden) await refresh();
  setTimeout(loop, REFRESH_MS);
}

startShell();
loop();
