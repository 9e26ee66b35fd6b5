// openmosixmigmon: the nodes as a picture, with processes at them. Drag a process to a node, or use the keyboard.

import { follow, get, known, post } from "./api.js";
import { h, replace, s, text } from "./dom.js";
import { place } from "./migmon_places.js";
import { openProcessWindow } from "./process_window.js";
import { attempt, say, startShell } from "./shell.js";

const PERIOD_MS = 1500;
const page = document.getElementById("page");
const picture = s("svg", { class: "picture", role: "application", "aria-label": "Nodes and processes" });
const banner = h("div", { class: "banner", role: "status", hidden: true });
const summary = h("span", { class: "soft" });
const hint = h(
  "p",
  { class: "soft wide-text" },
  "Drag a process to a node. By keyboard: Tab to the picture, arrow keys choose a process, Enter takes it, arrow keys choose the node, Enter moves it, Escape lets go; h sends it home, b where it is best, i opens its window.",
);
replace(page, h("div", { class: "page-head" }, h("h1", {}, "Migration monitor"), summary), banner, h("div", { class: "card" }, picture), hint);

let cluster = { nodes: [], own_node: 0, state: "loading" };
let rows = [];
let layout = { nodes: new Map(), processes: new Map(), height: 0 };
let held = null; // { pid, target, point }: a process taken by mouse or keyboard
let focused = 0;
const nodeParts = new Map();
const processParts = new Map();
const ties = s("g");
const nodeLayer = s("g");
const processLayer = s("g");
picture.append(ties, nodeLayer, processLayer);

function draw() {
  const { width } = picture.getBoundingClientRect();
  if (!width) return;
  const seen = Math.max(380, innerHeight - 290);
  layout = place(width, seen, cluster.nodes, rows, cluster.own_node);
  picture.style.height = `${layout.height}px`;
  picture.setAttribute("viewBox", `0 0 ${width} ${layout.height}`);
  drawNodes();
  drawProcesses();
}

function drawNodes() {
  for (const [node, part] of nodeParts) {
    if (!layout.nodes.has(node)) {
      part.group.remove();
      nodeParts.delete(node);
    }
  }
  for (const row of cluster.nodes) {
    const box = layout.nodes.get(row.node);
    if (!box) continue;
    if (!nodeParts.has(row.node)) nodeParts.set(row.node, makeNode(row.node));
    const part = nodeParts.get(row.node);
    const isTarget = held?.target === row.node;
    part.group.setAttribute("class", `node ${row.up ? "" : "down"} ${isTarget ? "target" : ""}`);
    part.group.setAttribute("transform", `translate(${box.x} ${box.y})`);
    part.box.setAttribute("width", box.width);
    part.box.setAttribute("height", box.height);
    text(part.name, `Node ${row.node}${row.node === cluster.own_node ? " (this one)" : ""}`);
    text(part.about, row.up ? `${row.address} · load ${row.load_percent}%` : `${row.address} · down`);
    part.track.setAttribute("width", Math.max(0, box.width - 20));
    part.load.setAttribute("width", Math.max(0, (box.width - 20) * (row.up ? row.load_percent : 0)) / 100);
    text(part.more, box.hidden ? `and ${box.hidden} more` : "");
    part.more.setAttribute("y", box.height - 8);
  }
}

function makeNode(node) {
  const box = s("rect", { class: "node-box", rx: "10" });
  const name = s("text", { x: "10", y: "20", "font-weight": "650" });
  const about = s("text", { x: "10", y: "36", class: "small" });
  const track = s("rect", { class: "load-track", x: "10", y: "43", height: "5", rx: "2.5" });
  const load = s("rect", { class: "load", x: "10", y: "43", height: "5", rx: "2.5" });
  const more = s("text", { x: "10", class: "small" });
  const group = s("g", { class: "node", "data-node": node }, box, name, about, track, load, more);
  nodeLayer.append(group);
  return { group, box, name, about, track, load, more };
}

function drawProcesses() {
  const moving = new Set((known("moves") ?? []).filter((move) => move.state === "running").map((move) => move.pid));
  for (const [pid, part] of processParts) {
    if (!layout.processes.has(pid)) {
      part.group.remove();
      part.tie.remove();
      processParts.delete(pid);
    }
  }
  let index = 0;
  for (const [pid, spot] of layout.processes) {
    if (!processParts.has(pid)) processParts.set(pid, makeProcess(pid));
    const part = processParts.get(pid);
    part.row = spot.row;
    const isHeld = held?.pid === pid;
    const at = isHeld && held.point ? { x: held.point.x - spot.width / 2, y: held.point.y - 11 } : spot;
    const kind = [spot.row.node ? "away" : "", isHeld ? "held" : "", moving.has(pid) ? "moving" : "", spot.row.why_not ? "fixed" : ""];
    part.group.setAttribute("class", `process ${kind.filter(Boolean).join(" ")}`);
    part.group.setAttribute("transform", `translate(${at.x} ${at.y})`);
    part.group.setAttribute("tabindex", index === focused ? "0" : "-1");
    part.box.setAttribute("width", spot.width);
    text(part.label, spot.label);
    const where = spot.row.node ? `on node ${spot.row.node}` : "at home";
    part.group.setAttribute("aria-label", `Process ${pid}, ${spot.row.name}, ${where}`);
    text(part.title, `${pid}: ${spot.row.command}\n${spot.row.user}, ${where}, ${spot.row.cpu_percent.toFixed(0)}% CPU${spot.row.why_not ? `\n${spot.row.why_not}` : ""}`);
    const home = layout.nodes.get(cluster.own_node);
    part.tie.toggleAttribute("hidden", !spot.row.node || !home);
    if (spot.row.node && home) {
      for (const [name, value] of Object.entries({ x1: at.x + spot.width / 2, y1: at.y + 11, x2: home.x + home.width / 2, y2: home.y + home.height / 2 })) part.tie.setAttribute(name, value);
    }
    index += 1;
  }
}

function makeProcess(pid) {
  const box = s("rect", { height: "22", rx: "5" });
  const label = s("text", { x: "7", y: "15" });
  const title = s("title");
  const group = s("g", { class: "process", role: "button", "data-pid": pid }, title, box, label);
  const tie = s("line", { class: "tie" });
  ties.append(tie);
  processLayer.append(group);
  const part = { group, tie, box, label, title, row: null };
  group.addEventListener("pointerdown", (event) => take(event, part));
  group.addEventListener("dblclick", () => part.row.node && move(part.row, "home"));
  group.addEventListener("keydown", (event) => onKey(event, part));
  group.addEventListener("focus", () => (focused = [...layout.processes.keys()].indexOf(pid)));
  return part;
}

function point(event) {
  const size = picture.getBoundingClientRect();
  return { x: event.clientX - size.left, y: event.clientY - size.top };
}

function nodeAt({ x, y }) {
  for (const [node, box] of layout.nodes) {
    if (x >= box.x && x <= box.x + box.width && y >= box.y && y <= box.y + box.height) return node;
  }
  return null;
}

function take(event, part) {
  if (event.button !== 0) return;
  part.group.focus();
  if (part.row.why_not) return say(part.row.why_not, false);
  const begin = point(event);
  part.group.setPointerCapture(event.pointerId);
  const onMove = (moved) => {
    const now = point(moved);
    if (!held && Math.hypot(now.x - begin.x, now.y - begin.y) < 5) return;
    held = { pid: part.row.pid, point: now, target: nodeAt(now) };
    draw();
  };
  const onUp = () => {
    part.group.removeEventListener("pointermove", onMove);
    part.group.removeEventListener("pointerup", onUp);
    part.group.removeEventListener("pointercancel", onUp);
    if (held) drop();
  };
  part.group.addEventListener("pointermove", onMove);
  part.group.addEventListener("pointerup", onUp);
  part.group.addEventListener("pointercancel", onUp);
}

function drop() {
  const { pid, target } = held;
  const row = rows.find((one) => one.pid === pid);
  held = null;
  draw();
  if (!row || target === null) return;
  const here = row.node || cluster.own_node;
  if (target !== here) move(row, target);
}

function move(row, to) {
  if (row.why_not) return say(row.why_not, false);
  attempt(() => post(`/api/processes/${row.pid}/migrate`, { start: row.start, to, command: row.name }));
}

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

function onKey(event, part) {
  const row = part.row;
  const step = STEPS[event.key];
  if (held && step) {
    const able = cluster.nodes.filter((node) => node.up).map((node) => node.node);
    held.target = able[(able.indexOf(held.target) + step + able.length) % able.length];
    say(`Process ${row.pid}: node ${held.target}? Enter moves it, Escape lets go.`);
    draw();
  } else if (step) {
    const pids = [...layout.processes.keys()];
    focused = (pids.indexOf(row.pid) + step + pids.length) % pids.length;
    draw();
    processParts.get(pids[focused]).group.focus();
  } else if (event.key === "Enter" || event.key === " ") {
    if (held) drop();
    else if (row.why_not) say(row.why_not, false);
    else {
      held = { pid: row.pid, point: null, target: row.node || cluster.own_node };
      say(`Process ${row.pid} taken: arrow keys choose the node.`);
      draw();
    }
  } else if (event.key === "Escape" && held) {
    held = null;
    draw();
  } else if (event.key === "h") move(row, "home");
  else if (event.key === "b") move(row, "balance");
  else if (event.key === "i") openProcessWindow(row);
  else return;
  event.preventDefault();
}

function showState(failure) {
  const words = failure || (cluster.state === "ok" || cluster.state === "loading" ? "" : cluster.message);
  banner.hidden = !words;
  text(banner, words);
}

async function refresh() {
  try {
    const body = await get("/api/away");
    // By number, so that processes keep their places while their use of the CPU changes.
    rows = body.rows.sort((a, b) => a.pid - b.pid);
    const away = rows.filter((row) => row.node).length;
    text(summary, `${away} of this node's processes elsewhere${body.hidden ? ` · ${body.hidden} more at home, not drawn` : ""}`);
    showState(body.failure);
  } catch (refusal) {
    showState(refusal.message);
  }
  if (!held?.point) draw();
}

async function loop() {
  if (!document.hidden) await refresh();
  setTimeout(loop, PERIOD_MS);
}

follow("cluster", (news) => {
  cluster = news;
  if (!held?.point) draw();
});
follow("moves", () => refresh());
new ResizeObserver(draw).observe(picture);
startShell();
loop();
