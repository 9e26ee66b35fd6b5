"""What an idle daemon costs in a cluster of N virtual nodes, each in namespaces of its own, with everything running.

    python bench/daemon_overhead.py [N] [SECONDS]

CPU of the daemon and all it starts per node, bytes its cable carries, memory of its own.  Needs root.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.daemon_idle import memory_kb, processor_s
from omlab.cluster import Cluster
from omlab.node import Node

SETTLE_S = 10.0
CABLE = "eth1"
BOUNDS = {"cpu_percent_each": 0.5, "sent_bytes_per_s_each": 2500, "uss_kb": 40 << 10}


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def sent_bytes(node: Node) -> int:
    """Bytes that have left the node on its cable."""
    for line in Path(f"/proc/{node.init_pid}/net/dev").read_text().splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == CABLE:
            return int(counters.split()[8])
    raise RuntimeError(f"{node} has no {CABLE}")


def wait_for_map(node: Node, count: int) -> None:
    """Until it knows all nodes."""

    def known() -> bool:
        return len(json.loads(node.run(["showmap", "--json"]).stdout)["data"]["entries"]) == count

    node.wait_for(known, f"{count} nodes in the map", 300.0)


def main() -> int:
    """Start the cluster, let it settle, measure, print one JSON object."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    if os.geteuid() != 0:
        print("bench/daemon_overhead.py needs root: it makes namespaces.", file=sys.stderr)
        return 3
    with Cluster(count) as cluster:
        nodes = list(cluster.nodes.values())
        for node in nodes:
            wait_for_map(node, count)
        time.sleep(SETTLE_S)
        daemons = [node.daemon.host_pid for node in nodes if node.daemon is not None]
        families = [family(pid) for pid in daemons]
        sent, began = [sent_bytes(node) for node in nodes], time.monotonic()
        used = [sum(map(processor_s, pids)) for pids in families]
        time.sleep(seconds)
        took = time.monotonic() - began
        share = [
            100 * (sum(map(processor_s, pids)) - before) / took for pids, before in zip(families, used, strict=True)
        ]
        traffic = [(sent_bytes(node) - before) / took for node, before in zip(nodes, sent, strict=True)]
        found = {
            "daemons": count,
            "seconds": round(took, 1),
            "cpu_percent_each": round(sum(share) / count, 3),
            "sent_bytes_per_s_each": round(sum(traffic) / count),
            "uss_kb": memory_kb(daemons[0])["uss_kb"],
            "uss_kb_of_helpers": sum(memory_kb(pid)["uss_kb"] for pid in families[0][1:]),
            "load_average": round(os.getloadavg()[0], 1),
        }
    found["within"] = all(found[name] <= bound for name, bound in BOUNDS.items())
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
