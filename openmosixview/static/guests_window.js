// The guests of this node: a card for each, with what it uses and its two buttons.

import { get, post } from "./api.js";
import { h, replace, text } from "./dom.js";
import { bytes, duration } from "./format.js";
import { attempt } from "./shell.js";
import { facts, forbid, openWindow } from "./window.js";

const POLL_MS = 1500;

export function openGuestsWindow() {
  let timer = 0;
  const made = openWindow("Processes from other nodes", { onclose: () => clearTimeout(timer) });
  const problem = h("p", { class: "soft", role: "status", hidden: true });
  const list = h("div", { class: "group" });
  made.body.append(problem, list);
  const cards = new Map();

  function card(guest) {
    const about = h("div");
    const send = (label, to) =>
      h("button", { type: "button", onclick: () => attempt(() => post(`/api/guests/${guest.pid}/send`, { to })).then(refresh) }, label);
    const buttons = [send("Go to home node", "home"), send("Go to best node", "balance")];
    const element = h("article", { class: "card guest" }, h("h3", {}), about, h("div", { class: "row" }, buttons));
    return { element, about, buttons };
  }

  function show(guests) {
    const seen = new Set(guests.map((guest) => guest.pid));
    for (const [pid, one] of cards) {
      if (!seen.has(pid)) {
        one.element.remove();
        cards.delete(pid);
      }
    }
    for (const guest of guests) {
      if (!cards.has(guest.pid)) {
        cards.set(guest.pid, card(guest));
        list.append(cards.get(guest.pid).element);
      }
      const one = cards.get(guest.pid);
      text(one.element.firstChild, `${guest.pid}: ${guest.command}`);
      for (const button of one.buttons) forbid(button, guest.why_not);
      replace(
        one.about,
        facts([
          ["Home", `node ${guest.home}, pid ${guest.home_pid}`],
          ["User", guest.user],
          ["State", guest.state],
          ["CPU time", duration(guest.cpu_s)],
          ["Memory", bytes(guest.rss_bytes)],
          ["Migrations", String(guest.nmigs)],
        ]),
      );
    }
    problem.hidden = guests.length > 0;
    text(problem, "No process of another node is here now.");
  }

  async function refresh() {
    clearTimeout(timer);
    if (!made.isOpen()) return;
    try {
      show((await get("/api/guests")).guests);
    } catch (refusal) {
      problem.hidden = false;
      text(problem, refusal.message);
    }
    timer = setTimeout(refresh, POLL_MS);
  }
  refresh();
}
