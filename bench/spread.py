"""How well equal CPU-bound jobs that start on one node spread over a cluster by themselves.

    python bench/spread.py [--quota PERCENT] [--work CPU_SECONDS] [--only equal|speeds] [--json]

Twelve loops of an ordinary user start on node 1 of four nodes with equal CPU quotas; then eight on node 1 of three
with quotas 1:1:2.  Each is run four ways: placed evenly from the start (the ideal, on this very machine), without
balancing (`mosctl stay`), moved round robin by hand, and automatically.  Needs root.  Every result is checked.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from omlab import cgroups
from omlab.cluster import Cluster
from omlab.node import Node
from omlab.node_root import ORDINARY_USER
from omlab.process import NodeProcess
from omprotocol.control import request
from omprotocol.errors import MosixError
from omprotocol.paths import Paths

PYTHON = "/usr/bin/python3"
HASHES_PER_ROUND = 20_000
PERIOD_US = 100_000
LOOK_EVERY_S = 0.2
TIMEOUT_S = 900.0
JOB = f"""\
import hashlib, sys
seed = b"spread"
for _ in range(int(sys.argv[2])):
    for _ in range({HASHES_PER_ROUND}):
        seed = hashlib.sha256(seed).digest()
print(sys.argv[1], seed.hex())
"""


@dataclass
class Outcome:
    """One way of running the jobs.  Times in seconds from the start of the first job."""

    way: str
    makespan_s: float = 0.0
    settled_s: float | None = None
    jain: float | None = None
    moves: int = 0
    lost: int = 0
    wrong: int = 0
    load_average: float = 0.0
    counts: list[tuple[float, list[int]]] = field(default_factory=list)


class Bench:
    """A cluster with one share of the CPU per node, and the same jobs on it again and again."""

    def __init__(self, cluster: Cluster, shares: list[int], jobs: int, rounds: int) -> None:
        self.cluster = cluster
        self.shares = shares
        self.jobs = jobs
        self.rounds = rounds
        self.expected = _expected(rounds)
        self.ideal = [jobs * share / sum(shares) for share in shares]
        self._paths = Paths(run_dir=cluster.nodes[1].path_of("/run/openmosix"))

    def run(self, way: str) -> Outcome:
        """Run all jobs one `way`: even, none, by hand, automatic.  Blocks until they have ended."""
        for node in self.cluster.nodes.values():
            node.run(["mosctl", "nostay" if way == "automatic" else "stay"])
        outcome = Outcome(way, load_average=os.getloadavg()[0])
        homes = self._even() if way == "even" else [1] * self.jobs
        began = time.monotonic()
        processes = [self._start(number, home, way) for number, home in enumerate(homes)]
        pids = [process.pid for process in processes] if way == "by hand" else []
        hand = threading.Thread(target=self._move_by_hand, args=(pids,))
        hand.start()
        self._watch(outcome, processes, homes, began)
        hand.join()
        for number, (process, home) in enumerate(zip(processes, homes, strict=True)):
            said = self._output(number, home, way)
            outcome.lost += process.returncode != 0
            outcome.wrong += said != f"{number} {self.expected}"
            process.close()
        self._judge(outcome)
        return outcome

    def _move_by_hand(self, pids: list[int]) -> None:
        for pid, to in zip(pids, self._even(), strict=False):
            if to != 1:  # one that has ended meanwhile needs no move
                self.cluster.nodes[1].run(["migrate", str(pid), str(to)], check=False, timeout_s=120)

    def _even(self) -> list[int]:
        """A node for every job, in proportion to the shares, round robin."""
        placed = [0] * len(self.shares)
        order = []
        for _ in range(self.jobs):
            node = min(range(len(placed)), key=lambda n: ((placed[n] + 1) / self.shares[n], n))
            placed[node] += 1
            order.append(node + 1)
        return order

    def _start(self, number: int, home: int, way: str) -> NodeProcess:
        name = f"/tmp/{way.replace(' ', '-')}-{number}"
        return self.cluster.nodes[home].popen(
            [PYTHON, "-c", JOB, str(number), str(self.rounds)],
            user=ORDINARY_USER,
            stdout=f"{name}.out",
            stderr=f"{name}.err",
            directory="/tmp",
        )

    def _output(self, number: int, home: int, way: str) -> str:
        try:
            return self.cluster.nodes[home].path_of(f"/tmp/{way.replace(' ', '-')}-{number}.out").read_text().strip()
        except OSError:
            return ""

    def _watch(self, outcome: Outcome, processes: list[NodeProcess], homes: list[int], began: float) -> None:
        moves: dict[int, int] = {}
        while [process for process in processes if process.poll() is None]:
            elapsed = time.monotonic() - began
            if elapsed > TIMEOUT_S:
                raise TimeoutError(f"the jobs took longer than {TIMEOUT_S:g} s")
            try:
                away = {
                    int(entry["pid"]): entry for entry in request("away", {}, timeout_s=5, paths=self._paths)["away"]
                }
            except MosixError:
                away = {}
            counts = [0] * len(self.shares)
            for process, home in zip(processes, homes, strict=True):
                if process.returncode is None:
                    entry = away.get(process.pid) if home == 1 else None
                    counts[(int(entry["node"]) if entry else home) - 1] += 1
                    if entry:
                        moves[process.pid] = max(moves.get(process.pid, 0), int(entry["moves"]))
            if sum(counts) == self.jobs:
                outcome.counts.append((elapsed, counts))
            time.sleep(LOOK_EVERY_S)
        outcome.makespan_s = time.monotonic() - began
        outcome.moves = sum(moves.values())

    def _judge(self, outcome: Outcome) -> None:
        """Settled: from then on no node has a whole job more than its share, as long as all jobs run."""
        settled = None
        for at_s, counts in outcome.counts:
            if all(count < ideal + 1 for count, ideal in zip(counts, self.ideal, strict=True)):
                settled = settled if settled is not None else at_s
            else:
                settled = None
        outcome.settled_s = settled
        after = [counts for at_s, counts in outcome.counts if settled is not None and at_s >= settled]
        if after:
            outcome.jain = sum(_jain(counts, self.shares) for counts in after) / len(after)


def _jain(counts: list[int], shares: list[int]) -> float:
    """Jain's fairness index of the jobs per share of CPU: 1 is even, 1/n is all on one node."""
    loads = [count / share for count, share in zip(counts, shares, strict=True)]
    return sum(loads) ** 2 / (len(loads) * sum(load * load for load in loads))


@functools.cache
def _expected(rounds: int) -> str:
    seed = b"spread"
    for _ in range(rounds * HASHES_PER_ROUND):
        seed = hashlib.sha256(seed).digest()
    return seed.hex()


def _rounds_of(work_s: float) -> int:
    began = time.process_time()
    _expected(5)
    return max(1, round(work_s / ((time.process_time() - began) / 5)))


def _set_shares(cluster: Cluster, shares: list[int], quota_percent: int) -> None:
    for group in cgroups.lab_groups(cluster.name):
        for number, share in enumerate(shares, 1):
            quota_us = share * quota_percent * PERIOD_US // 100
            node = group / f"node{number}"
            if (node / "cpu.cfs_quota_us").exists():
                (node / "cpu.cfs_quota_us").write_text(str(quota_us))
            if (node / "cpu.max").exists():
                (node / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")


def _wait_for_map(node: Node, nodes: int) -> None:
    def known() -> bool:
        return len(json.loads(node.run(["showmap", "--json"]).stdout)["data"]["entries"]) == nodes

    node.wait_for(known, "the map")


def run(name: str, shares: list[int], jobs: int, rounds: int, quota_percent: int, ways: list[str]) -> list[Outcome]:
    """One cluster, all ways; prints as it goes."""
    print(f"{name}: {jobs} jobs on node 1 of {len(shares)}, shares {':'.join(map(str, shares))} of {quota_percent} %")
    outcomes = []
    with Cluster(len(shares), quota_percent=100) as cluster:
        for node in cluster.nodes.values():
            _wait_for_map(node, len(shares))
        _set_shares(cluster, shares, quota_percent)
        bench = Bench(cluster, shares, jobs, rounds)
        for way in ways:
            outcome = bench.run(way)
            outcomes.append(outcome)
            even = next((one.makespan_s for one in outcomes if one.way == "even"), None)
            ratio = f"{outcome.makespan_s / even:.2f}" if even else "-"
            settled = "-" if outcome.settled_s is None else f"{outcome.settled_s:.1f} s"
            jain = "-" if outcome.jain is None else f"{outcome.jain:.3f}"
            print(
                f"  {way:<10} makespan {outcome.makespan_s:6.1f} s, / even {ratio}, settled {settled}, Jain {jain}, "
                f"{outcome.moves} moves, {outcome.lost} lost, {outcome.wrong} wrong, load {outcome.load_average:.1f}",
                flush=True,
            )
    return outcomes


def main() -> int:
    """Run what was asked for; exit status 1 when a job was lost or a result is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quota", type=int, default=40, help="CPU of a share in percent of a core (40)")
    parser.add_argument("--work", type=float, default=4.0, help="CPU seconds of a job (4)")
    parser.add_argument("--only", choices=["equal", "speeds"])
    parser.add_argument("--ways", default="even,none,by hand,automatic")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("bench/spread.py needs root: it makes namespaces and migrates processes.", file=sys.stderr)
        return 3
    rounds, ways = _rounds_of(options.work), options.ways.split(",")
    scenarios = {"equal": ([1, 1, 1, 1], 12), "speeds": ([1, 1, 2], 8)}
    found: dict[str, list[Outcome]] = {}
    for name, (shares, jobs) in scenarios.items():
        if options.only in (None, name):
            found[name] = run(name, shares, jobs, rounds, options.quota, ways)
    if options.json:
        print(json.dumps({name: [asdict(one) for one in outcomes] for name, outcomes in found.items()}))
    return int(any(one.lost or one.wrong for outcomes in found.values() for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
