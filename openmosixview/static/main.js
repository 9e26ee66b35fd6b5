// The main window: the table of nodes, live.

import { follow, known, post } from "./api.js";
import { attribute, h, replace, text } from "./dom.js";
import { megabytes } from "./format.js";
import { openNodeWindow } from "./node_window.js";
import { attempt, say, startShell } from "./shell.js";
import { forbid } from "./window.js";

const MAX_SPEED = 65535;
const ANIMATED_AT_MOST = 50; // more bars than that move in steps: a slow machine stays fluid
const page = document.getElementById("page");
const rows = new Map();
const banner = h("div", { class: "banner", role: "alert", hidden: true });
const summary = h("span", { class: "soft" });
const empty = h("div", { class: "card empty" }, h("strong", {}, "Asking the daemon…"));
const body = h("tbody");
const table = h(
  "table",
  { class: "nodes card" },
  h("colgroup", {}, ["c-id", "c-node", "c-speed", "", "", "c-all", "c-cpu"].map((name) => h("col", { class: name }))),
  h(
    "thead",
    {},
    h(
      "tr",
      {},
      h("th", { scope: "col", "data-what": "id" }, "id"),
      h("th", { scope: "col", "data-what": "node" }, "clusternodes"),
      h("th", { scope: "col", "data-what": "efficiency" }, "load-balancing efficiency"),
      h("th", { scope: "col", "data-what": "load" }, "overall load"),
      h("th", { scope: "col", "data-what": "memory" }, "overall used memory"),
      h("th", { scope: "col", class: "number", "data-what": "all-memory" }, "all memory"),
      h("th", { scope: "col", class: "number", "data-what": "all-cpu" }, "all CPU"),
    ),
  ),
  body,
);
const wrap = h("div", { class: "scroll", hidden: true }, table);

replace(page, h("div", { class: "page-head" }, h("h1", {}, "Cluster"), summary), banner, empty, wrap);

function meter(label, what) {
  const fill = h("span", { class: "fill" });
  const number = h("span", { class: "number" });
  const track = h("span", { class: "track", role: "meter", "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": label }, fill);
  const element = h("div", { class: `meter ${what}` }, track, number);
  return {
    element,
    set(percent, highAt) {
      text(number, percent === null ? "–" : `${percent}%`);
      if (track.getAttribute("aria-valuenow") === String(percent ?? 0)) return;
      track.setAttribute("aria-valuenow", percent ?? 0);
      fill.style.transform = `scaleX(${Math.min(100, percent ?? 0) / 100})`;
      fill.classList.toggle("high", percent >= highAt);
    },
  };
}

function cell(label, what, className, ...content) {
  return h("td", { class: className, "data-label": label, "data-what": what }, ...content);
}

function makeRow(node) {
  const isAll = node === "all";
  const id = isAll ? h("span", { class: "soft" }, "all") : h("span", { class: "badge" });
  const chips = h("div", { class: "chips" });
  const button = h("button", { type: "button", onclick: () => openNodeWindow(node) }, isAll ? "all-nodes" : "");
  const efficiency = isAll ? meter("Load-balancing efficiency", "") : null;
  const speed = isAll ? null : speedControl(node);
  const load = meter("Overall load", "");
  const memory = meter("Used memory", "memory");
  const total = h("span");
  const cpus = h("span");
  const element = h(
    "tr",
    { "data-node": String(node) },
    cell(null, "id", "", id),
    cell(null, "node", "", h("div", { class: "node-cell" }, button, chips)),
    cell(isAll ? "load-balancing efficiency" : "speed", "efficiency", "wide", isAll ? efficiency.element : speed.element),
    cell("overall load", "load", "", load.element),
    cell("overall used memory", "memory", "", memory.element),
    cell("all memory", "all-memory", "number", total),
    cell("all CPU", "all-cpu", "number", cpus),
  );
  return { element, id, button, chips, efficiency, speed, load, memory, total, cpus, flags: "" };
}

// A slider and a number that say the same. What the user is changing is not overwritten by what arrives meanwhile.
function speedControl(node) {
  const label = `Speed of node ${node}`;
  const slider = h("input", { type: "range", min: "1", max: String(MAX_SPEED), "aria-label": `${label}, slider` });
  const number = h("input", { type: "number", min: "1", max: String(MAX_SPEED), "aria-label": label });
  let isChanging = false;
  let current = 0;

  async function set(value) {
    const speed = Math.round(Number(value));
    if (!Number.isFinite(speed) || speed < 1 || speed > MAX_SPEED) {
      say(`A speed is a number within 1-${MAX_SPEED}.`, false);
      number.value = slider.value = current;
    } else if (speed !== current) {
      await attempt(() => post(`/api/nodes/${node}/set`, { name: "speed", value: speed }));
    }
    isChanging = false;
  }
  slider.addEventListener("input", () => {
    isChanging = true;
    number.value = slider.value;
  });
  slider.addEventListener("change", () => set(slider.value));
  number.addEventListener("input", () => (isChanging = true));
  number.addEventListener("change", () => set(number.value));
  number.addEventListener("blur", () => (isChanging = false));
  return {
    element: h("div", { class: "speed" }, slider, number),
    show(value, why) {
      forbid(slider, why);
      forbid(number, why);
      if (isChanging || value === current) return;
      current = value;
      slider.value = number.value = value;
    },
  };
}

function showNode(row, shown, why) {
  const isDoubtful = row.up && row.state === "suspect";
  attribute(shown.id, "data-state", row.up ? (isDoubtful ? "doubtful" : "up") : "down");
  text(shown.id, `${row.node} ${row.up ? (isDoubtful ? "doubtful" : "up") : row.state === "left" ? "left" : "down"}`);
  text(shown.button, row.address);
  shown.button.setAttribute("aria-label", `Node ${row.node}, ${row.address}: settings`);
  const flags = row.flags.join(" ");
  if (flags !== shown.flags) {
    shown.flags = flags;
    replace(shown.chips, row.flags.map((flag) => h("span", { class: "chip" }, flag)));
  }
  shown.speed.show(row.speed, why || (row.up ? "" : "The node is down."));
  fillNumbers(row, shown, row.up);
}

function fillNumbers(row, shown, isUp) {
  shown.load.set(isUp ? row.load_percent : null, 101);
  shown.memory.set(isUp ? row.used_percent : null, 91);
  text(shown.total, isUp ? megabytes(row.total_bytes) : "–");
  text(shown.cpus, isUp ? row.cpus : "–");
}

function rowOf(node) {
  if (!rows.has(node)) rows.set(node, makeRow(node));
  return rows.get(node);
}

function onCluster(cluster) {
  const why = known("user")?.why_not || (cluster.state === "ok" ? "" : cluster.message);
  const order = ["all", ...cluster.nodes.map((row) => row.node)];
  for (const [node, shown] of rows) {
    if (!order.includes(node)) {
      shown.element.remove();
      rows.delete(node);
    }
  }
  table.classList.toggle("many", cluster.nodes.length > ANIMATED_AT_MOST);
  const hasRows = cluster.all !== null && cluster.nodes.length > 0;
  if (hasRows) {
    const all = rowOf("all");
    all.efficiency.set(cluster.all.efficiency, 101);
    fillNumbers(cluster.all, all, true);
    for (const row of cluster.nodes) showNode(row, rowOf(row.node), why);
    order.forEach((node, index) => {
      const element = rows.get(node).element;
      if (body.children[index] !== element) body.insertBefore(element, body.children[index] ?? null);
    });
    text(summary, `${cluster.all.up} of ${cluster.all.nodes} nodes up · this is node ${cluster.own_node} · yardstick ${cluster.yardstick}`);
  }
  wrap.hidden = !hasRows;
  empty.hidden = hasRows;
  wrap.classList.toggle("is-stale", cluster.state === "no-daemon");
  showState(cluster);
}

function showState(cluster) {
  const states = {
    "no-daemon": ["bad", "The daemon does not run", "What is shown is what was known last. Start it on this machine: /etc/init.d/openmosix start"],
    failed: ["", "The daemon does not answer as it should", "It is asked again every second."],
    "not-configured": ["", "openMosix is not configured here", "This node has no number in a cluster yet. It gets one within seconds when the daemon finds its network, or by setpe."],
  };
  const [kind, title, words] = states[cluster.state] ?? ["", "", ""];
  banner.hidden = !title;
  banner.className = `banner ${kind}`;
  if (title) replace(banner, h("div", {}, h("strong", {}, title), words, h("div", { class: "soft" }, cluster.message)));
  if (!empty.hidden && cluster.state !== "loading") {
    replace(empty, h("strong", {}, "No nodes to show"), h("p", {}, "As soon as the daemon knows nodes, they appear here by themselves."));
  }
}

follow("cluster", onCluster);
follow("user", () => known("cluster") && onCluster(known("cluster")));
follow("connection", (news) => {
  if (news.state === "open") return;
  banner.hidden = false;
  banner.className = "banner bad";
  replace(banner, h("div", {}, h("strong", {}, news.state === "locked" ? "This browser is locked out" : "The view does not answer"), news.message));
  wrap.classList.add("is-stale");
});
startShell();
