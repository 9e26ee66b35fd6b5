"""The administrator's commands and the hpc tree against real nodes and real moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from omlab.cluster import Cluster
from omlab.node import Node
from tests.e2e.conftest import PYTHON, ask, migrate, start

pytestmark = [pytest.mark.lab, pytest.mark.criu, pytest.mark.fuse]
HPC = "/run/openmosix/hpc"


@pytest.fixture(autouse=True)
def switches_off(cluster: Cluster) -> Iterator[None]:
    yield
    for node in cluster.nodes.values():
        for word in ("noblock", "nolstay", "nostay", "undrain"):
            node.run(["mosctl", word])


def said(node: Node, *argv: str, user: str | None = None) -> str:
    """What a command prints."""
    return node.run(list(argv), user=user).stdout.strip()


def where(node: Node, pid: int) -> str:
    return said(node, "cat", f"{HPC}/pid/{pid}/where")


def guests(node: Node) -> list[str]:
    return said(node, "ls", f"{HPC}/remote").split()


def test_every_view_agrees_where_a_process_is(home: Node, cluster: Cluster) -> None:
    with start(home, PYTHON, "/tmp/answers.py", user="om") as process:
        migrate(home, process, 2, "om")
        pid = process.pid
        assert where(home, pid) == "2"
        assert said(home, "cat", f"{HPC}/pid/{pid}/nmigs") == "1"
        assert said(home, "mps", "-p", str(pid)).splitlines()[1].split()[2] == "2"
        cluster.nodes[2].wait_for(lambda: len(guests(cluster.nodes[2])) == 1, "one guest")
        (guest,) = guests(cluster.nodes[2])
        assert said(cluster.nodes[2], "cat", f"{HPC}/remote/{guest}/from") == "1"
        identity = said(cluster.nodes[2], "cat", f"{HPC}/remote/{guest}/identity").splitlines()
        assert identity[0] == "uid=1000"
        assert f"pid={pid}" in identity
        said(home, "sh", "-c", f"echo 0 > {HPC}/pid/{pid}/goto", user="om")
        home.wait_for(lambda: where(home, pid) == "0", "the process at home")
        assert ask(process, "exit 3") == ""
        assert process.wait() == 3


def test_expel_empties_a_node_that_then_refuses(home: Node, cluster: Cluster) -> None:
    with start(home, PYTHON, "/tmp/answers.py", user="om") as process:
        migrate(home, process, 2, "om")
        assert said(cluster.nodes[2], "mosctl", "expel").startswith("All remote processes were expelled")
        assert where(home, process.pid) == "0"
        cluster.nodes[2].wait_for(lambda: not guests(cluster.nodes[2]), "no guest")
        assert said(cluster.nodes[2], "mosctl", "status") == "up,block."
        refused = home.run(["migrate", str(process.pid), "2"], user="om", check=False)
        assert refused.returncode == 255
        assert ask(process, "check") == "ok"


def test_bring_brings_home_and_keeps(home: Node) -> None:
    with start(home, PYTHON, "/tmp/answers.py") as process:
        migrate(home, process, 3)
        assert said(home, "mosctl", "bring") == "All local processes were brought back and will stay here."
        assert where(home, process.pid) == "0"
        assert said(home, "mosctl", "status") == "up,lstay."
        assert ask(process, "check") == "ok"


def test_mosrun_starts_on_a_node(home: Node) -> None:
    process = home.popen(["mosrun", "-3", "sleep", "600"])
    try:
        home.wait_for(lambda: where(home, process.pid) == "3", "the job on node 3")
        assert said(home, "cat", f"{HPC}/pid/{process.pid}/lock") == "1"
    finally:
        process.close()


def test_nodes_answer_for_themselves(home: Node, cluster: Cluster) -> None:
    said(cluster.nodes[2], "mosctl", "setspeed", "7000")
    try:
        assert said(home, "mosctl", "getspeed", "2") == "speed=7000."
        assert said(home, "cat", f"{HPC}/nodes/2/speed") == "7000"
        assert said(home, "mosctl", "--node", "2", "stay").startswith("Automatic load-balancing disabled")
        assert said(home, "mosctl", "status", "2") == "up,stay."
        assert said(cluster.nodes[2], "cat", f"{HPC}/admin/stay") == "1"
        refused = home.run(["mosctl", "--node", "2", "block"], user="om", check=False)
        assert refused.returncode == 3
        assert said(home, "mosctl", "isup", "3") == "yes"
        assert said(home, "mosmon", "--once").splitlines()[-1].startswith("[Total 3]")
    finally:
        said(cluster.nodes[2], "sh", "-c", f"cat {HPC}/nodes/1/speed > {HPC}/admin/speed")


def test_a_killed_daemon_leaves_no_dead_tree_behind(home: Node, cluster: Cluster) -> None:
    with start(home, PYTHON, "/tmp/answers.py", user="om") as process:
        migrate(home, process, 3, "om")
        home.kill_daemon()
        assert home.run(["ls", HPC], check=False).returncode != 0
        assert home.run(["mosctl", "status"], check=False).returncode == 6
        home.start_daemon()
        home.wait_for(lambda: home.run(["ls", HPC], check=False).returncode == 0, "the new tree")
        home.wait_for(lambda: where(home, process.pid) == "3", "the process known as away")
        mounts = said(home, "cat", "/proc/self/mounts").splitlines()
        assert sum(line.split()[1] == HPC for line in mounts) == 1
        home.wait_for(lambda: said(home, "mosctl", "isup", "3") == "yes", "node 3 known again")
        said(home, "migrate", str(process.pid), "home", user="om")
        assert ask(process, "check") == "ok"
