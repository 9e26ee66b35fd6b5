"""One virtual cluster of three nodes for all end-to-end tests, and the words they are told in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from omlab.cluster import Cluster
from omlab.node import Node
from omlab.process import PIPE, NodeProcess

PROGRAMS = Path(__file__).parent / "programs"
PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="session")
def whole_run_cluster(run_label: str) -> Iterator[Cluster]:
    with Cluster(3, name=f"{run_label}-e2e") as made:
        for node in made.nodes.values():
            node.run(["mosctl", "stay"])  # what moves here, moves because a test says so
        for source in PROGRAMS.iterdir():
            for node in made.nodes.values():
                node.path_of(f"/tmp/{source.name}").write_bytes(source.read_bytes())
        yield made


@pytest.fixture
def cluster(whole_run_cluster: Cluster) -> Cluster:
    """The cluster, whole: a test before may have restarted a daemon."""
    for node in whole_run_cluster.nodes.values():
        node.wait_for(partial(_knows_all, node), "three nodes in the map")
    return whole_run_cluster


def _knows_all(node: Node) -> bool:
    return len(members(node)) == 3


@pytest.fixture
def home(cluster: Cluster) -> Node:
    return cluster.nodes[1]


def members(node: Node) -> list[dict[str, object]]:
    """The rows of the node's map."""
    done = node.run(["showmap", "--json"], check=False)
    rows: list[dict[str, object]] = json.loads(done.stdout)["data"]["entries"] if done.returncode == 0 else []
    return rows


def start(node: Node, *argv: str, user: str | None = None, stdin: str = PIPE, stdout: str = PIPE) -> NodeProcess:
    """A program of tests/e2e/programs (or any other) with pipes, having said its first line."""
    process = node.popen(
        list(argv), user=user, stdin=stdin, stdout=stdout, stderr=f"/tmp/stderr-{user}", directory="/tmp"
    )
    if process.stdout is not None and (said := read_line(process)) != "ready":
        process.close()
        pytest.fail(f"{argv} said {said!r}: {node.path_of(f'/tmp/stderr-{user}').read_text()}")
    return process


def read_line(process: NodeProcess) -> str:
    """The next line of its output; "" at its end."""
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        byte = process.stdout.read(1)
        if not byte:
            break
        line += byte
    return line.decode().rstrip("\n")


def ask(process: NodeProcess, word: str) -> str:
    """Say a word on its standard input and return the line it answers."""
    assert process.stdin is not None
    process.stdin.write(word.encode() + b"\n")
    return read_line(process)


def migrate(node: Node, process: NodeProcess, to: int | str, user: str | None = None) -> None:
    """Move it with the command a user would type."""
    node.run(["migrate", str(process.pid), str(to)], user=user)


def status_field(node: Node, process: NodeProcess, name: str) -> str:
    """A field of /proc/PID/status at home."""
    lines = Path(f"/proc/{process.host_pid}/status").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(name + ":"))
