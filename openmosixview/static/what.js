// "What is this": the next thing clicked, or reached with Tab and chosen with Enter, is explained instead of used.

import { h } from "./dom.js";
import { openWindow } from "./window.js";

export const WORDS = {
  id: "The node number, on green for a node that is up, on red for one that is down. The word says the same.",
  node: "Opens the window of this node: its settings, its guests and processes, a shell on it. The window of all-nodes does the same for the whole cluster.",
  efficiency: "In the first row: how well the work of the cluster is spread. 100 % means that no process waits for a processor while the average of the cluster is lower. In the other rows: the speed of the node. Move the slider, or type a number, to make the balancer see the node faster or slower than it is. 15000 is openMosix's standard processor, a 1 GHz Pentium III.",
  load: "How busy the processors are. 100 % is one runnable process, or more, for each processor.",
  memory: "Memory in use that cannot be freed, of all physical memory.",
  "all-memory": "Physical memory of the node; in the first row of all nodes that are up.",
  "all-cpu": "Processors of the node; in the first row of all nodes that are up.",
  file: "Run a program on the cluster, or leave.",
  view: "What this window shows.",
  config: "How commands for other nodes are written: with ssh or not, and for which user. They are kept once they are saved.",
  collector: "Starts and stops the collector, which records load, memory, migrations and processes for the analyzer and the history.",
  help: "Help, explanations, and the version.",
  run: "Runs a program on the cluster with the settings of mosrun.",
  save: "Keeps the configuration in this browser.",
  procs: "The processes of the node on which this view runs.",
  migmon: "The nodes as a picture with processes at them; drag a process to move it.",
  analyzer: "Graphs of load and memory over the time the collector has been on.",
  history: "The processes of a past moment.",
  what: "Explains what you click next.",
  lamp: "Whether the collector is on.",
  status: "The last action and how it ended.",
  process: "Opens the window of this process.",
  moves: "Migrations that are running, with their phase and the bytes sent so far.",
};

export function askWhat() {
  document.body.classList.add("asking");
  const end = () => {
    document.body.classList.remove("asking");
    document.removeEventListener("click", onClick, true);
    document.removeEventListener("keydown", onKey, true);
  };
  const onClick = (event) => {
    event.preventDefault();
    event.stopPropagation();
    end();
    const found = event.target.closest("[data-what]");
    const made = openWindow("What is this?", { small: true });
    made.body.append(h("p", {}, (found && WORDS[found.dataset.what]) ?? "There is nothing more to say about this: see Help."));
  };
  const onKey = (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    end();
  };
  document.addEventListener("click", onClick, true);
  document.addEventListener("keydown", onKey, true);
}
