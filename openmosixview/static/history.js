// openMosixhistory: the processes of the collector's node at a past moment, chosen by a slider.

import { get } from "./api.js";
import { h, replace, text } from "./dom.js";
import { bytes, duration, moment } from "./format.js";
import { startShell } from "./shell.js";

const REFRESH_MS = 15000;
const page = document.getElementById("page");
const slider = h("input", { type: "range", min: "0", max: "0", step: "1", "aria-label": "Moment" });
const shown = h("strong", { class: "number" }, "–");
const summary = h("span", { class: "soft" });
const users = h("select", { "aria-label": "User" });
const search = h("input", { type: "search", placeholder: "command or pid", "aria-label": "Filter by command or pid" });
const histories = h("select", { "aria-label": "History" });
const away = h("input", { type: "checkbox" });
const body = h("tbody");
const empty = h("div", { class: "empty" }, h("strong", {}, "Reading the history…"));
const COLUMNS = [
  ["pid", "pid", "number", "", (row) => row.pid],
  ["node", "n#", "number", "", (row) => row.node],
  ["user", "user", "", "", (row) => row.user],
  ["state", "stat", "", "less", (row) => row.state],
  ["cpu_percent", "CPU %", "number", "", (row) => Number(row.cpu_percent).toFixed(1)],
  ["rss_bytes", "memory", "number", "less", (row) => bytes(row.rss_bytes)],
  ["time_s", "time", "number", "less", (row) => duration(row.time_s)],
  ["nmigs", "migrations", "number", "", (row) => row.nmigs],
  ["command", "command", "", "command", (row) => row.command],
];
const headers = COLUMNS.map(([key, label, kind, more]) => h("th", { scope: "col", class: `${kind} ${more}` }, h("button", { type: "button", onclick: () => sortBy(key) }, label)));

replace(
  page,
  h("div", { class: "page-head" }, h("h1", {}, "History"), summary),
  h(
    "div",
    { class: "card" },
    h("div", { class: "slider-row" }, h("button", { type: "button", onclick: () => step(-1) }, "Earlier"), slider, h("button", { type: "button", onclick: () => step(1) }, "Later")),
    h("div", { class: "filters" }, shown, h("label", {}, "User", users), search, h("label", {}, away, "Only those elsewhere"), h("label", {}, "History", histories)),
    h("div", { class: "scroll" }, h("table", { class: "processes" }, h("thead", {}, h("tr", {}, headers)), body)),
    empty,
  ),
);

let moments = [];
let rows = [];
let sort = ["cpu_percent", true];
let asked = 0;

async function load() {
  const wasAtEnd = Number(slider.value) >= moments.length - 1;
  const query = `history=${encodeURIComponent(histories.value)}`;
  try {
    const [known, found] = [await get(`/api/history?${query}`), await get(`/api/history/moments?${query}`)];
    fillHistories(known.saved);
    moments = found.moments;
  } catch (refusal) {
    return nothing("There is no history to show", refusal.message);
  }
  slider.max = String(Math.max(0, moments.length - 1));
  if (wasAtEnd) slider.value = slider.max;
  text(summary, moments.length > 1 ? `${moments.length} moments from ${moment(moments[0])} to ${moment(moments.at(-1))}` : "");
  await look();
}

async function look() {
  const t = moments[Number(slider.value)];
  if (t === undefined) return nothing("No processes were recorded yet", "The collector records them once a minute.");
  text(shown, moment(t));
  slider.setAttribute("aria-valuetext", moment(t));
  const mine = (asked += 1);
  try {
    const found = await get(`/api/history/processes?t=${t}&history=${encodeURIComponent(histories.value)}`);
    if (mine !== asked) return; // the slider has moved on
    rows = found.rows;
    fillUsers();
    show();
  } catch (refusal) {
    nothing("This moment cannot be shown", refusal.message);
  }
}

function show() {
  const words = search.value.trim().toLowerCase();
  const kept = rows.filter(
    (row) =>
      (!users.value || row.user === users.value) &&
      (!away.checked || row.node) &&
      (!words || String(row.pid).includes(words) || row.command.toLowerCase().includes(words)),
  );
  const [key, isDown] = sort;
  kept.sort((a, b) => (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : a.pid - b.pid) * (isDown ? -1 : 1));
  COLUMNS.forEach(([name], index) => {
    if (name === key) headers[index].setAttribute("aria-sort", isDown ? "descending" : "ascending");
    else headers[index].removeAttribute("aria-sort");
  });
  replace(body, kept.map((row) => h("tr", {}, COLUMNS.map(([, , kind, more, value]) => h("td", { class: `${kind} ${more}` }, String(value(row)))))));
  empty.hidden = kept.length > 0;
  if (!kept.length) replace(empty, h("strong", {}, "No process matches"), h("p", {}, "Change the filters above to see others."));
}

function nothing(title, words) {
  replace(body);
  empty.hidden = false;
  replace(empty, h("strong", {}, title), h("p", {}, words));
}

function step(by) {
  slider.value = String(Number(slider.value) + by);
  look();
}

function sortBy(key) {
  sort = sort[0] === key ? [key, !sort[1]] : [key, !["pid", "user", "command"].includes(key)];
  show();
}

function fillUsers() {
  const names = [...new Set(rows.map((row) => row.user))].sort();
  const chosen = users.value;
  if (chosen && !names.includes(chosen)) names.push(chosen);
  replace(users, h("option", { value: "" }, "everybody"), names.map((name) => h("option", { value: name }, name)));
  users.value = chosen;
}

function fillHistories(saved) {
  const chosen = histories.value;
  replace(histories, h("option", { value: "" }, "running"), saved.map((name) => h("option", { value: name }, name.replace(/^history-|\.db$/g, ""))));
  histories.value = chosen;
}

slider.addEventListener("input", look);
users.addEventListener("change", show);
search.addEventListener("input", show);
away.addEventListener("change", show);
histories.addEventListener("change", () => {
  moments = [];
  load();
});

async function loop() {
  if (!document.hidden) await load();
  setTimeout(loop, REFRESH_MS);
}

replace(users, h("option", { value: "" }, "everybody"));
replace(histories, h("option", { value: "" }, "running"));
startShell();
loop();
