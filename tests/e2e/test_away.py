"""A real process moves to another node and back, seen by its parent, its user and itself."""

from __future__ import annotations

import os
import signal
from subprocess import CalledProcessError

import pytest

from omlab.cluster import Cluster
from omlab.node import Node
from tests.e2e.conftest import PYTHON, ask, migrate, read_line, start, status_field

pytestmark = [pytest.mark.lab, pytest.mark.criu, pytest.mark.fuse]


@pytest.mark.parametrize(("user", "threads"), [(None, 0), ("om", 0), ("om", 4)])
def test_it_is_the_same_process_away(home: Node, user: str | None, threads: int) -> None:
    with start(home, PYTHON, "/tmp/answers.py", f"/tmp/log-{user}-{threads}", str(threads), user=user) as process:
        identity = ask(process, "identity")
        migrate(home, process, 2, user)
        assert ask(process, "identity") == identity
        assert ask(process, "check") == "ok"
        assert ask(process, "grow 5000000") == str(5000000 + (2 << 20))
        assert ask(process, "check") == "ok"
        assert ask(process, "clock") == "forward"
        assert ask(process, "log away") == "logged"
        if threads:
            assert ask(process, "threads") == str(threads + 1)
        assert home.path_of(f"/tmp/log-{user}-{threads}").read_text() == "away\n"
        assert int(status_field(home, process, "VmRSS").split()[0]) < 100
        assert status_field(home, process, "TracerPid") == "0"
        assert status_field(home, process, "State")[0] == "S"
        assert ask(process, "exit 7") == ""
        assert process.wait() == 7


def test_its_files_are_those_of_its_home(home: Node, cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        node.path_of("/tmp/which").write_text(f"node {node.number}")
    with start(home, PYTHON, "/tmp/answers.py", user="om") as process:
        migrate(home, process, 3, "om")
        assert ask(process, "read /tmp/which") == "node 1"
        assert ask(process, "write /home/user/made here") == "written"
        assert home.path_of("/home/user/made").read_text() == "here"
        assert not cluster.nodes[3].path_of("/home/user/made").exists()
        assert os.stat(home.path_of("/home/user/made")).st_uid == 1000
        assert ask(process, "run hostname") == home.run(["hostname"]).stdout.strip()


def test_signals_reach_the_body_and_a_fatal_one_its_parent(home: Node) -> None:
    with start(home, PYTHON, "/tmp/answers.py") as process:
        migrate(home, process, 2)
        process.send_signal(signal.SIGUSR1)
        home.wait_for(lambda: ask(process, "caught") == f"[{int(signal.SIGUSR1)}]", "the signal")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM


def test_killing_the_original_ends_the_body(home: Node, cluster: Cluster) -> None:
    with start(home, PYTHON, "/tmp/answers.py") as process:
        migrate(home, process, 2)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        host = cluster.nodes[2]
        host.wait_for(lambda: not list(host.path_of("/run/openmosix/guests").glob("*/guest.json")), "the guest's end")


@pytest.mark.parametrize(("user", "threads"), [(None, 0), ("om", 0), ("om", 3)])
def test_home_again_nothing_is_left(home: Node, cluster: Cluster, user: str | None, threads: int) -> None:
    with start(home, PYTHON, "/tmp/answers.py", f"/tmp/log-home-{user}", str(threads), user=user) as process:
        identity = ask(process, "identity")
        maps = len(home.path_of(f"/proc/{process.pid}/maps").read_text().splitlines())
        for turn in range(2):
            migrate(home, process, 2 + turn, user)
            assert ask(process, "grow 3000000") == str((2 << 20) + 3000000 * (turn + 1))
            assert ask(process, f"write /tmp/turn-{user} {turn}") == "written"
            migrate(home, process, "home", user)
            assert ask(process, "identity") == identity
            assert ask(process, "check") == "ok"
            process.send_signal(signal.SIGUSR1)
            home.wait_for(lambda turn=turn: ask(process, "caught").count("10") == turn + 1, "the signal")
            if threads:
                assert ask(process, "threads") == str(threads + 1)
        targets = [os.readlink(path) for path in home.path_of(f"/proc/{process.pid}/fd").iterdir()]
        assert not [target for target in targets if "socket" in target or "signalfd" in target]
        assert abs(len(home.path_of(f"/proc/{process.pid}/maps").read_text().splitlines()) - maps) < 8
        assert status_field(home, process, "TracerPid") == "0"
        home.wait_for(lambda: not home.path_of(f"/run/openmosix/away/{process.pid}").exists(), "the end of the shim")
        assert ask(process, "exit 0") == ""
        assert process.wait() == 0


def test_offsets_shared_with_a_shell_are_kept(home: Node) -> None:
    script = "(echo a; /usr/bin/python3 /tmp/steps.py; echo c) > /tmp/shared-out; echo $? >> /tmp/shared-out"
    with home.popen(["bash", "-c", script]) as shell:
        pid = home.wait_for(lambda: home.path_of("/tmp/steps.pid").exists(), "the program") and int(
            home.path_of("/tmp/steps.pid").read_text()
        )
        home.run(["migrate", str(pid), "2"])
        home.path_of("/tmp/steps.go").touch()
        assert shell.wait() == 0
    assert home.path_of("/tmp/shared-out").read_text() == "a\nbefore\nafter\nc\n0\n"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["999999", "2"], 255),
        (["1", "2"], 255),
        (["2", "home"], 255),
        (["0", "2"], 1),
        (["x", "2"], 1),
        (["PID", "0"], 1),
        (["PID", "70000"], 1),
        (["PID", "77"], 255),
        (["PID", "1"], 0),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_happens(home: Node, arguments: list[str], status: int) -> None:
    with start(home, PYTHON, "/tmp/answers.py") as process:
        words = [str(process.pid) if word == "PID" else word for word in arguments]
        done = home.run(["migrate", *words], check=False)
        assert done.returncode == status, done.stderr
        assert len((done.stdout + done.stderr).splitlines()) == (1 if status else 0)
        assert ask(process, "check") == "ok"


def test_another_users_process_is_not_moved(home: Node) -> None:
    with start(home, PYTHON, "/tmp/answers.py") as process:
        with pytest.raises(CalledProcessError, match="Permission denied"):
            migrate(home, process, 2, "om")
        assert ask(process, "check") == "ok"


def test_a_daemon_that_dies_costs_nobody_anything(home: Node, cluster: Cluster) -> None:
    with start(home, PYTHON, "/tmp/answers.py", user="om") as process:
        migrate(home, process, 2, "om")
        for node in (home, cluster.nodes[2]):
            node.kill_daemon()
            assert ask(process, "check") == "ok"
            node.start_daemon()
            assert ask(process, "check") == "ok"
        home.wait_for(lambda: home.run(["showmap"]).stdout.count("10.77.0.") == 3, "three nodes in the map")
        home.run(["migrate", str(process.pid), "home"], user="om")
        assert ask(process, "check") == "ok"
        assert ask(process, "exit 0") == ""


def test_a_pipeline_loses_nothing(home: Node) -> None:
    script = "seq 200000 | /usr/bin/python3 /tmp/filter.py | md5sum; seq 200000 | md5sum"
    with home.popen(["bash", "-c", script], stdout="pipe") as shell:
        pid_file = home.path_of("/tmp/filter.pid")
        home.wait_for(pid_file.exists, "the filter")
        pid = pid_file.read_text()
        home.run(["migrate", pid, "2"])
        home.path_of("/tmp/filter.go").touch()
        first, second = read_line(shell), read_line(shell)
        assert first == second
        assert shell.wait() == 0
