"""Interfaces and addresses that come and go while the daemon runs, on a virtual cluster."""

import json
import time
from collections.abc import Callable

import pytest

from omlab.cluster import Cluster
from omlab.node import Node

DEADLINE_S = 60.0
INTERFACE = "eth1"


def _states(node: Node) -> dict[int, str]:
    shown = node.run(["showmap", "--json"], check=False)
    if shown.returncode != 0:
        return {}
    return {entry["node"]: entry["state"] for entry in json.loads(shown.stdout)["data"]["entries"]}


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.lab
def test_a_node_comes_back_with_its_interface_and_changes_with_its_address() -> None:
    with Cluster(2) as cluster:
        one, two = cluster.nodes[1], cluster.nodes[2]
        _wait_until(lambda: _states(one) == {1: "self", 2: "alive"})
        two.run(["ip", "link", "set", INTERFACE, "down"])
        _wait_until(lambda: _states(one).get(2) == "dead")
        two.run(["ip", "link", "set", INTERFACE, "up"])
        _wait_until(lambda: _states(one) == {1: "self", 2: "alive"})
        _wait_until(lambda: _states(two) == {1: "alive", 2: "self"})
        two.run(["ip", "addr", "flush", "dev", INTERFACE])
        two.run(["ip", "addr", "add", "10.77.0.9/16", "dev", INTERFACE])
        _wait_until(lambda: _states(one).get(9) == "alive")
        _wait_until(lambda: _states(two) == {1: "alive", 9: "self"})
