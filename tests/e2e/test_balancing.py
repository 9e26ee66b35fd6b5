"""Ordinary users' jobs spread over a cluster without anybody asking, except where somebody forbids it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from omlab.cluster import Cluster
from omlab.node import Node
from omlab.process import NodeProcess
from omprotocol.control import request
from omprotocol.paths import Paths
from tests.e2e.conftest import PYTHON, members

pytestmark = [pytest.mark.lab, pytest.mark.criu, pytest.mark.fuse, pytest.mark.timeout(300)]
NODES = 2
JOBS = 4
QUOTA_PERCENT = 60
SPREAD_S = 90.0
SPIN = "while True: pass"


@pytest.fixture
def small(run_label: str) -> Iterator[Cluster]:
    with Cluster(NODES, name=f"{run_label}-balancing", quota_percent=QUOTA_PERCENT) as made:
        for node in made.nodes.values():
            _wait_for_map(node)
        yield made


def _wait_for_map(node: Node) -> None:
    node.wait_for(lambda: len(members(node)) == NODES, "the map")


def _nodes_of(home: Node, jobs: list[NodeProcess]) -> list[int]:
    """Where they run now, 0 for home."""
    paths = Paths(run_dir=home.path_of("/run/openmosix"))
    return [int(request("where", {"pid": job.pid}, timeout_s=30, paths=paths)["node"]) for job in jobs]


def _explain(home: Node, job: NodeProcess) -> list[str]:
    done = home.run(["mosctl", "explain", str(job.pid), "--json"], user="om")
    lines: list[str] = json.loads(done.stdout)["data"]["text"]
    return lines


def test_jobs_spread_by_themselves_unless_they_are_to_stay(small: Cluster) -> None:
    home = small.nodes[1]
    home.run(["mosctl", "stay"])
    with ExitStack() as ends:

        def start(*argv: str) -> NodeProcess:
            process = home.popen(list(argv), user="om")
            ends.callback(process.close)
            ends.callback(process.kill)
            return process

        locked = start("mosrun", "-L", PYTHON, "-c", SPIN)
        jobs = [start(PYTHON, "-c", SPIN) for _ in range(JOBS)]
        home.wait_for(lambda: "(stay)" in _explain(home, jobs[0])[0], "a decision to stay", SPREAD_S)
        assert _nodes_of(home, [locked, *jobs]) == [0] * (JOBS + 1)

        home.run(["mosctl", "nostay"])
        home.wait_for(lambda: 2 in _nodes_of(home, jobs), "a job that has left by itself", SPREAD_S)
        assert _nodes_of(home, [locked]) == [0]
        home.wait_for(
            lambda: any("locked" in line for line in _explain(home, locked)), "the lock as the reason", SPREAD_S
        )
        assert all(len(_explain(home, job)) > 1 for job in jobs)
        assert all(job.poll() is None for job in [locked, *jobs])
