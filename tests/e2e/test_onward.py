"""From guest to guest, and a family behind its deputy."""

from __future__ import annotations

import signal

import pytest

from omlab.cluster import Cluster
from omlab.node import Node
from tests.e2e.conftest import PYTHON, ask, migrate, read_line, start

pytestmark = [pytest.mark.lab, pytest.mark.criu, pytest.mark.fuse]


def where(node: Node, pid: int) -> int:
    return int(node.path_of(f"/run/openmosix/hpc/pid/{pid}/where").read_text())


def guests(node: Node) -> int:
    return len(list(node.path_of("/run/openmosix/guests").glob("*/guest.json")))


@pytest.mark.parametrize(("user", "threads"), [(None, 0), ("om", 3)])
def test_it_goes_on_from_guest_to_guest(home: Node, cluster: Cluster, user: str | None, threads: int) -> None:
    with start(home, PYTHON, "/tmp/answers.py", f"/tmp/log-on-{user}", str(threads), user=user) as process:
        identity = ask(process, "identity")
        before = guests(cluster.nodes[2])
        for turn, node in enumerate((2, 3, 2, 3)):
            migrate(home, process, node, user)
            assert where(home, process.pid) == node
            assert ask(process, "identity") == identity
            assert ask(process, "check") == "ok"
            assert ask(process, f"log {turn}") == "logged"
            process.send_signal(signal.SIGUSR1)
            home.wait_for(lambda turn=turn: ask(process, "caught").count("10") == turn + 1, "the signal")
            if threads:
                assert ask(process, "threads") == str(threads + 1)
        home.wait_for(lambda: guests(cluster.nodes[2]) <= before, "the end of the guest on node 2")
        migrate(home, process, "home", user)
        assert where(home, process.pid) == 0
        assert ask(process, "check") == "ok"
        assert home.path_of(f"/tmp/log-on-{user}").read_text() == "0\n1\n2\n3\n"
        assert ask(process, "exit 5") == ""
        assert process.wait() == 5


def test_a_family_comes_home_behind_its_deputy(home: Node) -> None:
    with start(home, PYTHON, "/tmp/answers.py", user="om") as process:
        identity = ask(process, "identity")
        migrate(home, process, 2, "om")
        assert ask(process, "child") == "started"
        migrate(home, process, "home", "om")
        assert where(home, process.pid) == 0
        assert ask(process, "identity") == identity
        assert ask(process, "check") == "ok"
        assert ask(process, "child-says hello") == "hello"
        migrate(home, process, 3, "om")
        assert ask(process, "child-says again") == "again"
        assert ask(process, "child-ends") == "4"
        migrate(home, process, "home", "om")
        assert ask(process, "identity") == identity
        home.wait_for(lambda: not home.path_of(f"/run/openmosix/away/{process.pid}").exists(), "the end of the shim")
        assert ask(process, "exit 0") == ""
        assert process.wait() == 0


def test_what_a_process_leaves_running_lives_on(home: Node) -> None:
    script = 'echo ready; read go; (sleep 1; echo late > /tmp/late; echo "late to the pipe") & exit 6'
    with start(home, "/bin/bash", "-c", script, user="om") as process:
        migrate(home, process, 2, "om")
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        assert process.wait() == 6
        assert read_line(process) == "late to the pipe"
        assert home.path_of("/tmp/late").read_text() == "late\n"
        assert read_line(process) == ""


def test_an_end_that_the_body_closes_is_closed_at_home(home: Node) -> None:
    with start(home, PYTHON, "/tmp/answers.py", user="om") as process:
        migrate(home, process, 2, "om")
        assert ask(process, "close-output /tmp/closed") == ""
        home.wait_for(lambda: home.path_of("/tmp/closed").exists(), "the body after its output")
        migrate(home, process, "home", "om")
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 3
