// What all pages have: menus, tools, page tabs, the collector's lamp, running moves, the status bar.

import { connect, follow, get, known, post } from "./api.js";
import { attribute, h, icon, text } from "./dom.js";
import { bytes, moment } from "./format.js";
import { menuBar } from "./menus.js";
import { openRunWindow } from "./run_window.js";
import { save, settings } from "./settings.js";
import { askWhat } from "./what.js";
import { facts, openWindow } from "./window.js";

const PAGES = [
  ["/", "Cluster", ""],
  ["/processes", "Processes", "procs"],
  ["/migmon", "Migration monitor", "migmon"],
  ["/analyzer", "Analyzer", "analyzer"],
  ["/history", "History", "history"],
  ["/help", "Help", "help"],
];

const said = h("span", { class: "said" }, "Ready");
const who = h("span", { class: "soft" });
const lamp = h("span", { class: "lamp", "data-what": "lamp", "data-state": "off", role: "status" }, "Collector off");
const moves = h("section", { class: "moves", "aria-label": "Migrations", "data-what": "moves", "aria-live": "polite" });

export function say(words, ok = true) {
  text(said, words);
  attribute(said, "data-ok", ok);
}

// Run an order of the user; what goes wrong is said in the status bar. True when it went well.
export async function attempt(order) {
  try {
    await order();
    return true;
  } catch (refusal) {
    say(refusal.message, false);
    return false;
  }
}

export function startShell() {
  const bar = document.getElementById("status");
  bar.dataset.what = "status";
  bar.append(said, who);
  bar.hidden = !settings.statusbar;
  document.body.append(moves);
  document.getElementById("shell").append(
    h(
      "div",
      { class: "shell-row" },
      h("a", { class: "brand", href: "/" }, h("img", { src: "/static/icon.svg", alt: "" }), "openMosixview"),
      menuBar(MENUS),
      h("span", { class: "grow" }),
      lamp,
    ),
    h("div", { class: "shell-row" }, tabs(), h("span", { class: "grow" }), tools()),
  );
  document.querySelector(".tab[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  follow("said", (news) => news.at > startedAt && say(news.text, news.ok));
  follow("collector", (news) => {
    text(lamp, { on: "Collector on", late: "Collector late", off: "Collector off" }[news.state]);
    attribute(lamp, "data-state", news.state);
    lamp.title = news.message;
  });
  follow("user", (user) => text(who, user.is_admin ? `${user.name}, administrator` : `${user.name}, no administrator`));
  follow("moves", showMoves);
  follow("connection", (news) => news.state !== "open" && say(news.message, false));
  connect();
}

const startedAt = Date.now() / 1000 - 5;

function tabs() {
  return h(
    "nav",
    { class: "row", "aria-label": "Pages" },
    PAGES.map(([path, name, what]) =>
      h(
        "a",
        {
          class: "button tab",
          href: path,
          "data-what": what || null,
          "aria-current": location.pathname === path ? "page" : null,
        },
        name,
      ),
    ),
  );
}

function tools() {
  const tool = (name, label, what, act) =>
    h("button", { type: "button", class: "tool", "aria-label": label, title: label, "data-what": what, onclick: act }, icon(name));
  return h(
    "div",
    { class: "row", role: "toolbar", "aria-label": "Tools" },
    tool("run", "Run a program", "run", openRunWindow),
    tool("save", "Save the configuration", "save", saveSettings),
    tool("list", "openMosixprocs: processes", "procs", () => location.assign("/processes")),
    tool("chart", "openMosixanalyzer: graphs", "analyzer", () => location.assign("/analyzer")),
    tool("help", "Help", "help", () => location.assign("/help")),
    tool("what", "What is this?", "what", askWhat),
  );
}

const MENUS = [
  {
    name: "File",
    what: "file",
    items: () => [
      { name: "Run program…", what: "run", act: openRunWindow },
      { name: "Processes", what: "procs", act: () => location.assign("/processes") },
      { name: "Migration monitor", what: "migmon", act: () => location.assign("/migmon") },
      { name: "Analyzer", what: "analyzer", act: () => location.assign("/analyzer") },
      { name: "History", what: "history", act: () => location.assign("/history") },
      null,
      { name: "Exit", act: leave },
    ],
  },
  { name: "View", what: "view", items: () => [{ name: "Status bar", checked: settings.statusbar, act: toggleStatusBar }] },
  {
    name: "Config",
    what: "config",
    items: () => [
      { name: "Use ssh", checked: settings.ssh, act: () => change({ ssh: !settings.ssh }) },
      { name: "User for ssh…", act: openSettings },
      { name: "Save conf", what: "save", act: saveSettings },
    ],
  },
  {
    name: "Collector",
    what: "collector",
    items: () => {
      const state = known("collector")?.state ?? "off";
      const off = state === "off" ? "The collector is off." : "";
      return [
        { name: "Start", why: state === "off" ? "" : "It is on.", act: () => collector("start") },
        { name: "Stop", why: off, act: () => collector("stop") },
        { name: "Checkpoint", why: off, act: () => collector("checkpoint") },
        { name: "Save history", act: () => collector("save") },
      ];
    },
  },
  {
    name: "Help",
    what: "help",
    items: () => [
      { name: "Help", act: () => location.assign("/help") },
      { name: "What is this?", what: "what", act: askWhat },
      { name: "About", act: about },
    ],
  },
];

function change(values) {
  Object.assign(settings, values);
  dispatchEvent(new CustomEvent("settings"));
  say(settings.ssh ? `Commands for other nodes use ssh as ${settings.user}; not saved yet` : "Commands for other nodes do without ssh; not saved yet");
}

function saveSettings() {
  save();
  say("Configuration saved in this browser");
}

function toggleStatusBar() {
  settings.statusbar = !settings.statusbar;
  document.getElementById("status").hidden = !settings.statusbar;
}

function openSettings() {
  const made = openWindow("User for ssh", { small: true });
  const user = h("input", { type: "text", value: settings.user, maxlength: "64", spellcheck: "false", autocomplete: "off" });
  made.body.append(h("label", { class: "field" }, h("span", {}, "Commands for other nodes begin with ssh, as this user"), user));
  made.foot.hidden = false;
  made.foot.append(
    h("button", { type: "button", onclick: () => made.close() }, "Cancel"),
    h("button", { type: "button", class: "main", onclick: () => (change({ user: user.value.trim() || "root" }), made.close()) }, "Use"),
  );
  user.focus();
}

const collector = (order) => attempt(() => post("/api/collector", { order }));

async function leave() {
  await attempt(() => post("/api/exit", {}));
  location.assign("/");
}

async function about() {
  const made = openWindow("About openMosixview", { small: true });
  try {
    const body = await get("/api/about");
    const daemon = body.daemon;
    made.body.append(
      h("p", {}, "openMosix in user space: processes of a Linux cluster move to where there is room for them."),
      facts([
        ["View", body.version],
        ["Runs on", body.host],
        ["As user", body.user],
        ["Daemon", daemon ? daemon.version : body.error],
        ["Node", daemon ? String(daemon.node || "none yet") : "unknown"],
        ["Cluster key", daemon?.key_fingerprint ?? "unknown"],
      ]),
      h("p", { class: "soft" }, "After openMosixview by Matthias Rechenburg. Free software: GPL, version 2 or later."),
    );
  } catch (refusal) {
    made.body.append(h("p", {}, refusal.message));
  }
}

const shown = new Map();
const dismissed = new Set();

function showMoves(list) {
  const now = Date.now();
  for (const move of list) {
    if (dismissed.has(move.id)) continue;
    if (!shown.has(move.id)) {
      // Moves that had ended before this page was opened are history, not news.
      if (move.state !== "running") {
        dismissed.add(move.id);
        continue;
      }
      const card = h("div", { class: "move" }, h("strong"), h("span"), h("progress"));
      shown.set(move.id, card);
      moves.append(card);
    }
    const card = shown.get(move.id);
    const where = move.to === "home" ? "home" : move.to === "balance" ? "where it is best" : `to node ${move.to}`;
    attribute(card, "data-state", move.state);
    text(card.children[0], `${move.pid} ${move.command ? `(${move.command.slice(0, 40)}) ` : ""}${where}`);
    text(card.children[1], move.state === "running" ? `${move.phase}${move.bytes ? `, ${bytes(move.bytes)}` : ""}` : move.message);
    if (move.state !== "running" && !dismissed.has(move.id)) {
      dismissed.add(move.id);
      card.children[2].hidden = true;
      card.title = moment(now / 1000, false);
      setTimeout(() => {
        card.remove();
        shown.delete(move.id);
      }, move.state === "done" ? 5000 : 15000);
    }
  }
}
