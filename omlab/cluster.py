"""A cluster of virtual nodes on one machine, for trying and for tests.

    with Cluster(3) as cluster:
        cluster.nodes[1].run(["showmap"])

As a context manager it ends with its owner, however that ends. Nothing of the machine's network, files or
processes is touched, and nothing is left behind.
"""

import base64
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from omlab import cgroups, network, state
from omlab.node import Node, wait_for

_KEEPER_TIMEOUT_S = 120.0
_serial = itertools.count(1)


class Cluster:
    """Make `count` nodes (1 to 99), numbered from 1, with omdiscd on each unless start_daemon is False.

    name: default is unique to this process and carries OPENMOSIX_TEST_RUN. quota_percent: CPU time of each
    node in percent of one core. cores: one list ("0,2-3") per node, or one for all. same_key: whether
    the nodes share a cluster key; without it each daemon makes its own. detached: outlive this process
    (omlab up). Raises OSError or RuntimeError with the reason; then nothing is left behind. Blocks.
    """

    def __init__(
        self,
        count: int,
        *,
        name: str | None = None,
        start_daemon: bool = True,
        quota_percent: int | None = None,
        cores: list[str] | None = None,
        same_key: bool = True,
        detached: bool = False,
    ) -> None:
        if not 1 <= count <= network.NODES_MAX:
            raise ValueError(f"a cluster has 1 to {network.NODES_MAX} nodes, not {count}")
        label = os.environ.get("OPENMOSIX_TEST_RUN", f"lab{os.getpid()}")
        self.name = name or f"{label}-{next(_serial)}"
        state.lab_directory(self.name)
        if cores is not None:
            cores = cores * count if len(cores) == 1 else cores
            if len(cores) != count:
                raise ValueError(f"cores are given for {len(cores)} nodes, but there are {count}")
        key = base64.b64encode(os.urandom(32)).decode()
        order = {
            "name": self.name,
            "nodes": count,
            "detached": detached,
            "quota_percent": quota_percent,
            "cores": cores,
            "keys": [key] * count if same_key else None,
        }
        self._detached = detached
        self._keeper: subprocess.Popen[bytes] | None = subprocess.Popen(
            [sys.executable, "-m", "omlab.keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
        try:
            self.nodes = self._make(order)
            if start_daemon:
                for node in self.nodes.values():
                    node.start_daemon(wait=False)
                for node in self.nodes.values():
                    node.wait_for_daemon()
        except BaseException:
            self.down()
            raise
        if detached:
            self._let_go()

    def _make(self, order: dict[str, Any]) -> dict[int, Node]:
        assert self._keeper is not None
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.write(json.dumps(order).encode() + b"\n")
        self._keeper.stdin.flush()
        line = self._keeper.stdout.readline()
        answer = json.loads(line) if line else {"error": "the keeper died"}
        if "ok" not in answer:
            raise RuntimeError(f"no cluster: {answer['error']}")
        lab = state.load(self.name)
        if lab is None:
            raise RuntimeError(f"no cluster: the record of {self.name} is not readable")
        return open_nodes(lab)

    def _let_go(self) -> None:
        assert self._keeper is not None
        for pipe in (self._keeper.stdin, self._keeper.stdout):
            if pipe is not None:
                pipe.close()
        # Not waited for: it is to outlive us, and PID 1 of the machine will reap it.
        self._keeper.returncode = 0
        self._keeper = None

    def down(self) -> None:
        """Remove the cluster and everything in it. Blocks until nothing is left; may be called twice."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        for node in getattr(self, "nodes", {}).values():
            if node.daemon is not None:
                node.daemon.close()
        for pipe in (keeper.stdin, keeper.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass
        if self._detached and keeper.poll() is None:
            keeper.terminate()
        try:
            keeper.wait(_KEEPER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()
            take_down(self.name)
            raise

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def wait_for(self, predicate: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
        """Poll until the predicate gives something true; TimeoutError says what was waited for."""
        return wait_for(predicate, what, timeout_s)

    def logs(self) -> str:
        """All daemons' logs, for a failed test's message."""
        return "".join(f"--- node {number}\n{node.log()}" for number, node in self.nodes.items())


def open_nodes(lab: state.Lab) -> dict[int, Node]:
    """The nodes of a running cluster by number."""
    return {number: Node(lab.name, number, init, lab.keeper.pid) for number, init in lab.nodes.items()}


def take_down(name: str, timeout_s: float = 60.0) -> list[str]:
    """Remove a cluster by its name, also one whose keeper died. Blocks.

    Returns one line for everything that could not be removed (none, normally).
    """
    directory = state.lab_directory(name)
    keeper = _keeper_of(name)
    if keeper is not None:
        _stop(keeper, timeout_s)
    lab = state.load(name)
    if lab is not None:
        for process in lab.nodes.values():
            if process.runs():
                os.kill(process.pid, 9)
    left = [f"cgroup {group}" for group in cgroups.remove_lab_groups(name)]
    if directory.exists():
        state.remove(name)
    return left


def _keeper_of(name: str) -> state.Process | None:
    try:
        record = json.loads((state.lab_directory(name) / "maker").read_text())
        keeper = state.Process(**record)
    except (OSError, ValueError, TypeError):
        return None
    return keeper if keeper.runs() else None


def _stop(keeper: state.Process, timeout_s: float) -> None:
    try:
        os.kill(keeper.pid, 15)
        end = time.monotonic() + timeout_s
        while keeper.runs():
            if time.monotonic() > end:
                os.kill(keeper.pid, 9)
            time.sleep(0.02)
    except ProcessLookupError:
        pass
