// The window of one node, or of all nodes: its real state, and what can be ordered.

import { follow, get, known, post } from "./api.js";
import { attribute, h, replace, text } from "./dom.js";
import { bytes } from "./format.js";
import { onNode, settings } from "./settings.js";
import { attempt } from "./shell.js";
import { confirmed, copyLine, facts, forbid, openWindow } from "./window.js";

// name, whether "yes" means the setting is off, words
const SWITCHES = [
  ["stay", true, "Automatic migration", "The balancer may move processes away from this node."],
  ["quiet", true, "Talk to other nodes", "Tells the others its load, and takes theirs into account."],
  ["lstay", false, "Local processes stay", "Own processes do not migrate away by themselves; guests may."],
  ["block", true, "Accept guests", "Processes of other nodes may come here."],
  ["nomfs", true, "Serve files to guests", "Programs that went away find this node's files (MFS)."],
];
const POLL_MS = 1500;

export function openNodeWindow(node) {
  const isAll = node === "all";
  const made = openWindow(isAll ? "All nodes" : `Node ${node}`, {
    onclose: () => {
      unfollow.forEach((stop) => stop());
      clearInterval(timer);
    },
  });
  const controls = [];
  const about = h("div");
  const problem = h("div", { class: "banner", hidden: true, role: "status" });
  const switches = SWITCHES.map(([name, isInverse, title, words]) => switchRow(name, isInverse, title, words));
  made.body.append(problem, about, h("section", { class: "group" }, h("h3", {}, "Settings"), switches.map((one) => one.row)));
  made.body.append(emptying());
  const remote = h("section", { class: "group" });
  if (!isAll) made.body.append(remote);

  function switchRow(name, isInverse, title, words) {
    const yes = h("button", { type: "button", "aria-label": `${title}: yes` }, "Yes");
    const no = h("button", { type: "button", "aria-label": `${title}: no` }, "No");
    const state = h("span", { class: "soft" });
    controls.push(yes, no);
    yes.addEventListener("click", () => order(name, !isInverse, `${title}: yes`));
    no.addEventListener("click", () => order(name, isInverse, `${title}: no`));
    const row = h(
      "div",
      { class: "switch" },
      h("span", {}, title, " ", state, h("small", {}, words)),
      h("span", { class: "pair", role: "group", "aria-label": title }, yes, no),
    );
    return { name, row, isInverse, yes, no, state };
  }

  function show(name, value) {
    const found = switches.find((one) => one.name === name);
    if (!found) return;
    const isYes = value === null ? null : value !== found.isInverse;
    attribute(found.yes, "aria-pressed", isYes === true);
    attribute(found.no, "aria-pressed", isYes === false);
    text(found.state, value === null ? "(differs between the nodes)" : "");
  }

  async function order(name, value, words) {
    if (isAll && !(await confirmed("All nodes", `Set "${words}" on every node that is up?`, "Set on all nodes"))) return;
    await attempt(() => post(`/api/nodes/${node}/set`, { name, value }));
    await refresh();
  }

  function emptying() {
    const what = isAll ? "all nodes" : `node ${node}`;
    const button = (label, action, words, isDangerous) => {
      const made = h("button", { type: "button", class: isDangerous ? "danger" : "" }, label);
      made.addEventListener("click", async () => {
        if (!(await confirmed(label, words, label, isDangerous))) return;
        made.disabled = true;
        await attempt(() => post(`/api/nodes/${node}/do`, { action }));
        made.disabled = false;
        await refresh();
      });
      controls.push(made);
      return made;
    };
    const undrain = h("button", { type: "button" }, "End draining");
    undrain.addEventListener("click", () => order("drain", false, "no longer draining"));
    controls.push(undrain);
    return h(
      "section",
      { class: "group" },
      h("h3", {}, "Processes"),
      h(
        "div",
        { class: "row" },
        button("Send guests away", "expel", `All guests leave ${what}, and no new ones are accepted until "Accept guests" is set again.`, true),
        button("Bring processes home", "bring", `The processes of ${what} that run elsewhere come home and stay there.`),
        button("Drain", "drain", `All guests leave ${what}, and none come until draining ends: for maintenance.`),
        undrain,
      ),
    );
  }

  function remoteSection(row) {
    const isOwn = row.node === known("cluster").own_node;
    const shell = onNode(row.address, "") || "(on its console)";
    const port = 8335;
    const procs = isOwn
      ? h("a", { class: "button", href: "/processes" }, "Processes of this node")
      : copyLine(onNode(row.address, `openmosixprocs --no-browser --port ${port}`, `-t -L ${port}:127.0.0.1:${port}`), "processes of the node");
    const init = (word) => onNode(row.address, `/etc/init.d/openmosix ${word}`);
    replace(
      remote,
      h("h3", {}, "A shell on this node"),
      copyLine(shell, "shell on the node"),
      h("h3", {}, isOwn ? "Its processes" : "Its processes: run this, then open the address it prints"),
      procs,
      h("h3", {}, "Start and stop openMosix there"),
      copyLine(init("start"), "start openMosix"),
      copyLine(init("stop"), "stop openMosix"),
      settings.ssh ? null : h("p", { class: "why" }, "Config, use ssh is off: type these on the node itself."),
    );
  }

  let shownFor = "";
  function onCluster(cluster) {
    const row = isAll ? null : cluster.nodes.find((one) => one.node === node);
    const why = known("user")?.why_not || (cluster.state === "ok" ? "" : cluster.message) || (row && !row.up ? "The node is down." : "");
    for (const control of controls) forbid(control, why);
    if (isAll) {
      const up = cluster.nodes.filter((one) => one.up);
      for (const { name } of switches) {
        const on = up.filter((one) => one.flags.includes(name)).length;
        show(name, on === 0 ? false : on === up.length ? true : null);
      }
      replace(about, cluster.all ? facts([["Nodes up", `${cluster.all.up} of ${cluster.all.nodes}`], ["Processors", String(cluster.all.cpus)], ["Memory", bytes(cluster.all.total_bytes)]]) : "");
    } else if (row) {
      const key = JSON.stringify([row.address, row.up, row.state, row.load, row.speed, row.used_percent]);
      if (key !== shownFor) {
        shownFor = key;
        replace(about, facts([["Address", row.address], ["State", row.state], ["Load", String(row.load)], ["Speed", String(row.speed)], ["Processors", String(row.cpus)], ["Memory", `${row.used_percent}% of ${bytes(row.total_bytes)}`]]));
      }
      if (!remote.firstChild) remoteSection(row);
    }
    problem.hidden = !why;
    text(problem, why);
  }

  async function refresh() {
    if (isAll) return;
    try {
      const body = await get(`/api/nodes/${node}`);
      for (const { name } of switches) show(name, body.settings[name] === true);
      text(made.heading, body.settings.drain ? `Node ${node}, draining` : `Node ${node}`);
    } catch (refusal) {
      problem.hidden = false;
      text(problem, refusal.message);
    }
  }

  const unfollow = [follow("cluster", onCluster)];
  const timer = setInterval(refresh, POLL_MS);
  refresh();
}
