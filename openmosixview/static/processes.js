// openmosixprocs: the processes of this node, sorted, filtered, in pages of two hundred.

import { follow, get, known } from "./api.js";
import { attribute, h, replace, text } from "./dom.js";
import { bytes, duration } from "./format.js";
import { openGuestsWindow } from "./guests_window.js";
import { openProcessWindow } from "./process_window.js";
import { startShell } from "./shell.js";

const PERIOD_MS = 2000;
const COLUMNS = [
  ["pid", "pid", "number", ""],
  ["node", "n#", "number", ""],
  ["user", "user", "", ""],
  ["state", "stat", "", "less"],
  ["cpu", "CPU %", "number", ""],
  ["memory", "memory", "number", "less"],
  ["time", "time", "number", "less"],
  ["nice", "nice", "number", "less"],
  ["nmigs", "migrations", "number", "less"],
  ["command", "command", "", ""],
];

const query = new URLSearchParams(location.search);
const wanted = { sort: "cpu", down: true, user: query.get("user") ?? "", text: query.get("text") ?? "", node: query.get("node") ?? "", offset: 0, reasons: false };
const page = document.getElementById("page");
const summary = h("span", { class: "soft" });
const banner = h("div", { class: "banner", role: "alert", hidden: true });
const users = h("select", { "aria-label": "User" }, h("option", { value: "" }, "everybody"));
const places = h("select", { "aria-label": "Where" });
const search = h("input", { type: "search", placeholder: "command or pid", "aria-label": "Filter by command or pid", value: wanted.text });
const reasons = h("input", { type: "checkbox" });
const pause = h("input", { type: "checkbox" });
const headers = COLUMNS.map(([key, label, kind, less]) =>
  h("th", { scope: "col", class: `${kind} ${less}` }, h("button", { type: "button", onclick: () => sortBy(key) }, label)),
);
const body = h("tbody");
const empty = h("div", { class: "empty" }, h("strong", {}, "Reading the processes…"));
const position = h("span", { class: "soft" });
const back = h("button", { type: "button", onclick: () => turn(-1) }, "Previous");
const forth = h("button", { type: "button", onclick: () => turn(1) }, "Next");

replace(
  page,
  h("div", { class: "page-head" }, h("h1", {}, "Processes"), summary, h("button", { type: "button", onclick: openGuestsWindow }, "Manage procs from remote")),
  banner,
  h(
    "div",
    { class: "card" },
    h(
      "div",
      { class: "filters" },
      h("label", {}, "User", users),
      h("label", {}, "Where", places),
      search,
      h("label", {}, reasons, "Say what cannot move"),
      h("label", {}, pause, "Hold still"),
    ),
    h("div", { class: "scroll" }, h("table", { class: "processes" }, h("thead", {}, h("tr", {}, headers)), body)),
    empty,
    h("div", { class: "pager" }, back, position, forth),
  ),
);

const rows = new Map();
let total = 0;
let perPage = 200;

function makeRow(row) {
  const open = h("button", { type: "button", class: "link", "data-what": "process" }, String(row.pid));
  const cells = COLUMNS.map(([, , kind, less]) => h("td", { class: `${kind} ${less}` }));
  const element = h("tr", {}, cells);
  const made = { element, cells, open, row };
  open.addEventListener("click", () => openProcessWindow(made.row));
  element.addEventListener("dblclick", () => openProcessWindow(made.row));
  cells[0].append(open);
  cells[9].classList.add("command");
  return made;
}

function fill(made, row) {
  made.row = row;
  const [, node, user, state, cpu, memory, time, nice, nmigs, command] = made.cells;
  text(node, row.node);
  node.title = row.node ? `It runs on node ${row.node}.` : "It is at home.";
  text(user, row.user);
  text(state, row.state);
  text(cpu, row.cpu_percent.toFixed(1));
  text(memory, bytes(row.rss_bytes));
  text(time, duration(row.time_s));
  text(nice, row.nice);
  text(nmigs, row.nmigs);
  const marks = [row.node ? "migrated" : "", row.lock ? "locked" : "", row.cantmove ? `cannot move: ${row.cantmove}` : ""].filter(Boolean);
  const key = `${row.command}\n${marks.join("\n")}`;
  if (made.key !== key) {
    made.key = key;
    replace(command, marks.map((mark) => [h("span", { class: mark === "migrated" ? "chip" : "chip plain" }, mark), " "]), new Text(row.command));
    command.title = row.command;
  }
}

async function refresh() {
  const path = new URLSearchParams({ sort: wanted.sort, down: wanted.down ? "1" : "0", user: wanted.user, text: wanted.text, node: wanted.node, offset: wanted.offset, reasons: wanted.reasons ? "1" : "" });
  let answer;
  try {
    answer = await get(`/api/processes?${path}`);
  } catch (refusal) {
    banner.hidden = false;
    text(banner, refusal.message);
    return;
  }
  banner.hidden = !answer.failure;
  text(banner, answer.failure ? `Where processes run is not known: ${answer.failure}` : "");
  total = answer.total;
  perPage = answer.page;
  wanted.offset = Math.min(wanted.offset, Math.floor(Math.max(0, total - 1) / perPage) * perPage);
  show(answer);
}

function show(answer) {
  const seen = new Set();
  answer.rows.forEach((row, index) => {
    const key = `${row.pid}.${row.start}`;
    seen.add(key);
    if (!rows.has(key)) rows.set(key, makeRow(row));
    const made = rows.get(key);
    fill(made, row);
    if (body.children[index] !== made.element) body.insertBefore(made.element, body.children[index] ?? null);
  });
  for (const [key, made] of rows) {
    if (!seen.has(key)) {
      made.element.remove();
      rows.delete(key);
    }
  }
  empty.hidden = answer.rows.length > 0;
  if (!empty.hidden) {
    const isFiltered = wanted.user || wanted.text || wanted.node;
    replace(empty, h("strong", {}, isFiltered ? "No process matches" : "No processes"), h("p", {}, isFiltered ? "Change the filters above to see others." : ""));
  }
  text(summary, `${answer.all} processes of this node · ${answer.away} of them elsewhere`);
  const last = Math.min(total, wanted.offset + perPage);
  text(position, total > perPage ? `${wanted.offset + 1}–${last} of ${total}` : `${total} shown`);
  back.disabled = wanted.offset === 0;
  forth.disabled = last >= total;
  fillUsers(answer.users);
}

function fillUsers(names) {
  const key = names.join("\n");
  if (users.dataset.key === key) return;
  users.dataset.key = key;
  const all = wanted.user && !names.includes(wanted.user) ? [...names, wanted.user] : names;
  replace(users, h("option", { value: "" }, "everybody"), all.map((name) => h("option", { value: name }, name)));
  users.value = wanted.user;
}

function fillPlaces(cluster) {
  const others = cluster.nodes.filter((row) => row.node !== cluster.own_node).map((row) => row.node);
  const key = others.join(" ");
  if (places.dataset.key === key && places.firstChild) return;
  places.dataset.key = key;
  const fixed = [["", "anywhere"], ["0", "at home"], ["-1", "elsewhere"]];
  replace(places, [...fixed, ...others.map((node) => [String(node), `on node ${node}`])].map(([value, label]) => h("option", { value }, label)));
  places.value = wanted.node;
}

function sortBy(key) {
  if (wanted.sort === key) wanted.down = !wanted.down;
  else Object.assign(wanted, { sort: key, down: !["pid", "user", "command"].includes(key) });
  change({});
}

function turn(pages) {
  change({ offset: Math.max(0, wanted.offset + pages * perPage) });
  page.scrollIntoView();
}

function change(values) {
  Object.assign(wanted, values.offset === undefined ? { offset: 0 } : {}, values);
  COLUMNS.forEach(([key], index) => attribute(headers[index], "aria-sort", key === wanted.sort ? (wanted.down ? "descending" : "ascending") : null));
  refresh();
}

users.addEventListener("change", () => change({ user: users.value }));
places.addEventListener("change", () => change({ node: places.value }));
search.addEventListener("input", () => change({ text: search.value.trim() }));
reasons.addEventListener("change", () => change({ reasons: reasons.checked }));

// The next look begins when the last one has been answered: a slow node is not asked more and more.
async function loop() {
  if (!pause.checked && !document.hidden) await refresh();
  setTimeout(loop, PERIOD_MS);
}

fillPlaces(known("cluster") ?? { nodes: [], own_node: 0 });
follow("cluster", fillPlaces);
follow("moves", (moves) => moves.some((move) => move.state !== "running") && !pause.checked && refresh());
startShell();
change({});
setTimeout(loop, PERIOD_MS);
