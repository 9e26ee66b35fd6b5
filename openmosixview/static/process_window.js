// The window of one process: what it is, where it is, why it does not move, and what can be done with it.

import { follow, get, known, post } from "./api.js";
import { attribute, h, replace, text } from "./dom.js";
import { bytes, duration } from "./format.js";
import { attempt } from "./shell.js";
import { confirmed, facts, forbid, openWindow } from "./window.js";

const POLL_MS = 1500;
const SIGNALS = [
  ["SIGTERM", "Terminate", true],
  ["SIGKILL", "Kill", true],
  ["SIGSTOP", "Stop (SIGSTOP)", false],
  ["SIGCONT", "Continue (SIGCONT)", false],
];

export function openProcessWindow(row) {
  const { pid, start } = row;
  const made = openWindow(`Process ${pid}`, {
    onclose: () => {
      unfollow.forEach((stop) => stop());
      clearTimeout(timer);
    },
  });
  const controls = [];
  const problem = h("div", { class: "banner", role: "status", hidden: true });
  const command = h("code", {});
  const about = h("div");
  const moving = h("div", { class: "banner", role: "status", hidden: true });
  const nodes = h("div", { class: "row", role: "group", "aria-label": "Nodes" });
  const reasons = h("p");
  const explain = h("pre", { class: "explain mono" });
  const lock = h("button", { type: "button" }, "Lock");
  const nice = h("input", { type: "range", min: "-20", max: "19", "aria-label": "Nice value" });
  const niceNumber = h("output", { class: "number" });
  const renice = h("button", { type: "button" }, "Renice");
  let isLocked = false;
  let isNiceChanged = false;
  let why = row.why_not ?? "";
  let ended = false;

  const order = (action, values) => attempt(() => post(`/api/processes/${pid}/${action}`, { start, ...values })).then(refresh);
  const move = (to) => order("migrate", { to, command: row.name });
  const home = h("button", { type: "button", onclick: () => move("home") }, "Home");
  const best = h("button", { type: "button", onclick: () => move("balance") }, "Best node");
  lock.addEventListener("click", () => order("lock", { value: !isLocked }));
  nice.addEventListener("input", () => {
    isNiceChanged = true;
    text(niceNumber, nice.value);
  });
  renice.addEventListener("click", () => {
    isNiceChanged = false;
    order("renice", { value: Number(nice.value) });
  });
  const signals = SIGNALS.map(([name, label, asks]) =>
    h("button", { type: "button", class: asks ? "danger" : "", onclick: () => signal(name, label, asks) }, label),
  );
  controls.push(home, best, lock, nice, renice, ...signals);

  async function signal(name, label, asks) {
    if (asks && !(await confirmed(label, `Send ${name} to process ${pid} (${row.name})?`, label, true))) return;
    await order("signal", { name });
  }

  made.body.append(
    problem,
    moving,
    h("div", { class: "group" }, command, about),
    h("section", { class: "group" }, h("h3", {}, "Move it to"), nodes, h("div", { class: "row" }, home, best)),
    h("section", { class: "group" }, h("h3", {}, "Why it is where it is"), reasons, explain),
    h(
      "section",
      { class: "group" },
      h("h3", {}, "Settings and signals"),
      h("div", { class: "row" }, lock, h("label", { class: "nice" }, "Nice", nice, niceNumber), renice),
      h("div", { class: "row" }, signals),
    ),
  );
  text(command, row.command);

  function allow() {
    const reason = ended ? "It has ended." : why;
    for (const control of [...controls, ...nodes.children]) forbid(control, control.dataset.why || reason);
    if (why && !ended) {
      problem.hidden = false;
      text(problem, `You may look, but not touch: ${why}`);
    }
  }

  function onCluster(cluster) {
    const key = JSON.stringify(cluster.nodes.map((node) => [node.node, node.up, node.flags.includes("block")]));
    if (nodes.dataset.key === key) return;
    nodes.dataset.key = key;
    replace(
      nodes,
      cluster.nodes.map((node) => {
        const no = !node.up ? "The node is down." : node.flags.includes("block") && node.node !== cluster.own_node ? "It accepts no guests." : "";
        return h(
          "button",
          { type: "button", "data-node": node.node, "data-why": no, onclick: () => move(node.node) },
          `Node ${node.node}`,
          h("span", { class: "soft" }, node.up ? `${node.load_percent}%` : "down"),
        );
      }),
    );
    markPlace();
    allow();
  }

  let place = row.node;
  function markPlace() {
    const here = place || known("cluster")?.own_node;
    for (const button of nodes.children) attribute(button, "aria-current", Number(button.dataset.node) === here ? "true" : null);
  }

  function onMoves(moves) {
    const running = moves.findLast((one) => one.pid === pid && one.state === "running");
    const wasMoving = !moving.hidden;
    moving.hidden = !running;
    if (running) text(moving, `It is being moved: ${running.phase}${running.bytes ? `, ${bytes(running.bytes)} sent` : ""}`);
    else if (wasMoving) {
      const last = moves.findLast((one) => one.pid === pid);
      if (last?.state === "failed") {
        problem.hidden = false;
        text(problem, last.message);
      }
      refresh();
    }
  }

  function show(body) {
    const now = body.row;
    if (now.start !== start) return end();
    why = body.why_not;
    place = now.node;
    isLocked = body.facts.lock ?? now.lock;
    const own = known("cluster")?.own_node;
    const where = now.node ? `node ${now.node}` : own ? `at home (node ${own})` : "at home";
    replace(
      about,
      facts([
        ["User", now.user],
        ["Where", where],
        ["Migrations", String(body.facts.nmigs ?? now.nmigs)],
        ["State", now.state],
        ["CPU", `${now.cpu_percent.toFixed(1)}%, ${duration(now.time_s)} in all`],
        ["Memory", bytes(now.rss_bytes)],
        ["Locked", isLocked ? "yes" : "no"],
        ["Decay of statistics", body.facts.decay ?? "unknown"],
      ]),
    );
    text(lock, isLocked ? "Unlock" : "Lock");
    if (!isNiceChanged) {
      nice.value = now.nice;
      text(niceNumber, now.nice);
    }
    const blocked = body.facts.cantmove;
    text(
      reasons,
      body.facts.error ? body.facts.error.message : blocked?.length ? `It cannot move: ${blocked.join(", ")}.` : isLocked ? "It could move, but it is locked." : "Nothing keeps it from moving.",
    );
    text(explain, explanation(body.explain));
    markPlace();
    allow();
  }

  function end() {
    ended = true;
    problem.hidden = false;
    text(problem, "This process has ended.");
    allow();
  }

  let timer = 0;
  async function refresh() {
    clearTimeout(timer);
    if (!made.isOpen() || ended) return;
    try {
      show(await get(`/api/processes/${pid}`));
    } catch (refusal) {
      if (refusal.code === "no-such-process") end();
      else {
        problem.hidden = false;
        text(problem, refusal.message);
      }
    }
    if (!ended) timer = setTimeout(refresh, POLL_MS);
  }

  const unfollow = [follow("cluster", onCluster), follow("moves", onMoves)];
  refresh();
}

function explanation(body) {
  if (body.error?.code === "unknown-verb") return "This daemon runs without a balancer: there is no decision to explain.";
  if (body.error) return body.error.message;
  if (Array.isArray(body.text)) return body.text.join("\n");
  return typeof body.text === "string" ? body.text : JSON.stringify(body, null, 2);
}
