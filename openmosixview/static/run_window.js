// Advanced execution: a program with mosrun's settings, its output and how it ended.

import { get, known, post } from "./api.js";
import { h, text } from "./dom.js";
import { status } from "./format.js";
import { openWindow } from "./window.js";

const PLACES = [
  ["free", "Free to migrate"],
  ["nomig", "No migration"],
  ["home", "Run home"],
  ["nodes", "Run on node(s)"],
];
const DECAYS = [
  ["", "As it is"],
  ["cpu", "CPU job"],
  ["io", "I/O job"],
  ["none", "No decay"],
  ["slow", "Slow decay"],
  ["fast", "Fast decay"],
  ["own", "Own decay"],
];
const POLL_MS = 500;

let lastOrder = { command: "", place: "free", decay: "", nodes: "", force: false, unlock: false, rate: 975, interval_s: 2, once: false, own_only: false };

export function openRunWindow() {
  let timer = 0;
  const made = openWindow("Run a program on the cluster", { onclose: () => clearTimeout(timer) });
  const command = h("input", { type: "text", value: lastOrder.command, placeholder: "for example: /usr/bin/make -j8", spellcheck: "false", autocomplete: "off", name: "command" });
  const nodes = h("input", { type: "text", value: lastOrder.nodes, placeholder: "for example 2 or 1-3,7", autocomplete: "off", name: "nodes" });
  const [force, unlock, once, ownOnly] = ["force", "unlock", "once", "own_only"].map((name) => {
    const box = h("input", { type: "checkbox" });
    box.checked = lastOrder[name];
    return box;
  });
  const rate = h("input", { type: "number", min: "0", max: "1000", value: String(lastOrder.rate) });
  const interval = h("input", { type: "number", min: "1", max: "65535", value: String(lastOrder.interval_s) });
  const onNodes = h(
    "div",
    { class: "group" },
    h("label", { class: "field" }, h("span", {}, "Nodes, one of which is chosen"), nodes),
    h("label", {}, force, "Run anyway when none of them can take it"),
    h("label", {}, unlock, "May migrate on from there"),
  );
  const ownDecay = h("div", { class: "row" }, h("label", { class: "row" }, "Keep", rate, "of 1000"), h("label", { class: "row" }, "every", interval, "seconds"));
  const onDecay = h("div", { class: "group" }, ownDecay, h("label", {}, once, "Until the program executes another one"), h("label", {}, ownOnly, "Not for its children"));
  const places = choices("place", PLACES, lastOrder.place, (value) => (onNodes.hidden = value !== "nodes"));
  const showDecay = (value) => {
    onDecay.hidden = value === "";
    ownDecay.hidden = value !== "own";
  };
  const decays = choices("decay", DECAYS, lastOrder.decay, showDecay);
  showDecay(lastOrder.decay);
  onNodes.hidden = lastOrder.place !== "nodes";
  const state = h("p", { class: "why", role: "status" });
  const output = h("pre", { class: "output", tabindex: "0", "aria-label": "Output of the program" });
  const execute = h("button", { type: "button", class: "main" }, "Execute");
  const stop = h("button", { type: "button", disabled: true }, "Stop");
  made.body.append(
    h("label", { class: "field" }, h("span", {}, "Command line"), command),
    h("fieldset", { class: "card pad group" }, h("legend", {}, "Where"), places, onNodes),
    h("fieldset", { class: "card pad group" }, h("legend", {}, "Statistics for the balancer"), decays, onDecay),
    h("div", { class: "group" }, h("h3", {}, "Output"), output, state),
  );
  made.foot.hidden = false;
  made.foot.append(stop, h("button", { type: "button", onclick: () => made.close() }, "Close"), execute);
  text(state, `It runs as ${known("user")?.name ?? "you"} on this node, with the settings of mosrun, and ends when the view ends.`);

  let number = 0;
  async function look() {
    try {
      const run = await get(`/api/runs/${number}`);
      show(run);
      if (run.is_running && made.isOpen()) timer = setTimeout(look, POLL_MS);
    } catch (refusal) {
      text(state, refusal.message);
    }
  }

  function show(run) {
    const atEnd = output.scrollTop + output.clientHeight >= output.scrollHeight - 4;
    text(output, (run.dropped_bytes ? `… ${run.dropped_bytes} bytes before this are not kept …\n` : "") + run.output);
    if (atEnd) output.scrollTop = output.scrollHeight;
    text(state, `${run.command}: ${status(run)}${run.pid && run.is_running ? `, process ${run.pid}` : ""}`);
    stop.disabled = !run.is_running;
    execute.disabled = run.is_running;
  }

  async function start() {
    lastOrder = {
      command: command.value,
      place: value(places),
      decay: value(decays),
      nodes: nodes.value,
      force: force.checked,
      unlock: unlock.checked,
      rate: Number(rate.value),
      interval_s: Number(interval.value),
      once: once.checked,
      own_only: ownOnly.checked,
    };
    try {
      const run = await post("/api/runs", lastOrder);
      number = run.id;
      show(run);
      clearTimeout(timer);
      timer = setTimeout(look, POLL_MS);
    } catch (refusal) {
      text(state, refusal.message);
    }
  }
  execute.addEventListener("click", start);
  command.addEventListener("keydown", (event) => event.key === "Enter" && start());
  stop.addEventListener("click", () => post(`/api/runs/${number}/stop`, {}).catch((refusal) => text(state, refusal.message)));
  command.focus();
}

function choices(name, options, chosen, onchange) {
  return h(
    "div",
    { class: "choices" },
    options.map(([word, label]) => {
      const radio = h("input", { type: "radio", name, value: word });
      radio.checked = word === chosen;
      radio.addEventListener("change", () => onchange(word));
      return h("label", {}, radio, label);
    }),
  );
}

function value(group) {
  return group.querySelector("input:checked").value;
}
