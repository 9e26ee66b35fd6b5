"""Virtual clusters end without a trace, however they end; and the omlab command."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from omlab import cgroups, state
from omlab.cluster import Cluster, take_down
from omlab.node import wait_for

pytestmark = [pytest.mark.lab]

FREEZE = """
set -e
if [ -w /sys/fs/cgroup/freezer ]; then
    mkdir /sys/fs/cgroup/freezer/ice
    sleep 600 &
    echo $! > /sys/fs/cgroup/freezer/ice/cgroup.procs
    echo FROZEN > /sys/fs/cgroup/freezer/ice/freezer.state
else
    mkdir /sys/fs/cgroup/ice
    sleep 600 &
    echo $! > /sys/fs/cgroup/ice/cgroup.procs
    echo 1 > /sys/fs/cgroup/ice/cgroup.freeze
fi
"""
OWNER = """
import os, sys
from omlab.cluster import Cluster
cluster = Cluster(2, name=sys.argv[1], start_daemon=False)
cluster.nodes[1].popen(["sleep", "600"])
print("made", flush=True)
# A fork that holds everything of the owner open, and goes with the cluster's last node.
if os.fork() == 0:
    node = os.pidfd_open(cluster.nodes[2].init_pid)
    __import__("select").select([node], [], [])
    os._exit(0)
sys.stdin.read()
"""


def traces(name: str) -> list[str]:
    """What is left of a cluster."""
    left = [str(group) for group in cgroups.lab_groups(name)]
    directory = state.lab_directory(name)
    return left + ([str(directory)] if directory.exists() else [])


def nodes_of(name: str) -> list[state.Process]:
    lab = state.load(name)
    assert lab is not None
    return [lab.keeper, *lab.nodes.values()]


def test_two_clusters_stand_side_by_side() -> None:
    with Cluster(1, start_daemon=False) as first, Cluster(1, start_daemon=False) as second:
        assert first.nodes[1].address == second.nodes[1].address
        with pytest.raises(RuntimeError, match="exists already"):
            Cluster(1, start_daemon=False, name=first.name)
        assert first.nodes[1].run(["hostname"]).stdout == "node1\n"
    assert traces(first.name) + traces(second.name) == []


def test_frozen_processes_do_not_hold_up_the_end() -> None:
    with Cluster(1, start_daemon=False) as cluster:
        # Not by run(): the child may be frozen before it lets go of a pipe.
        with cluster.nodes[1].popen(["sh", "-c", FREEZE]) as freezing:
            assert freezing.wait() == 0
    assert traces(cluster.name) == []


def test_the_cluster_ends_with_its_owner(run_label: str) -> None:
    name = f"{run_label}-owned"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "made\n"
        processes = nodes_of(name)
        owner.kill()
        wait_for(lambda: not traces(name), "the end of the cluster")
        wait_for(lambda: not any(process.runs() for process in processes), "the end of its processes")
    finally:
        owner.kill()
        owner.communicate()
        take_down(name)


def test_what_a_killed_keeper_leaves_is_removed_by_name() -> None:
    cluster = Cluster(2, start_daemon=False)
    try:
        keeper, *nodes = nodes_of(cluster.name)
        os.kill(keeper.pid, signal.SIGKILL)
        wait_for(lambda: not any(process.runs() for process in nodes), "the end of the nodes")
    finally:
        cluster.down()
        assert take_down(cluster.name) == []
    assert traces(cluster.name) == []


def omlab(*arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("omlab")), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=100, check=False)


def test_the_command(run_label: str) -> None:
    name = f"{run_label}-command"
    try:
        # A shell that ignores signals, as CI's may: nothing of that may reach the nodes.
        made = subprocess.run(
            [
                "sh",
                "-c",
                f"trap '' INT QUIT; exec {Path(sys.executable).with_name('omlab')} up 2 --no-daemon --name {name}",
            ],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        assert omlab("up", "1", "--name", name).returncode == 1
        assert f"{name}: 2 nodes" in omlab("status").stdout
        assert omlab("--name", name, "exec", "2", "grep", "SigIgn", "/proc/self/status").stdout.split()[1] == "0" * 16
        done = omlab(
            "exec", "--name", name, "-u", "om", "1", "sh", "-c", "id -un; cat; echo bad >&2; exit 3", text="in"
        )
        assert (done.returncode, done.stdout, done.stderr) == (3, "om\nin", "bad\n")
        assert omlab("exec", "--name", name, "3", "true").returncode == 1
        assert omlab("exec", "--name", name, "1").returncode == 2
        assert omlab("link", "--name", name, "1", "loss").returncode == 2
        assert omlab("link", "--name", name, "1", "loss", "12.5").returncode == 0
        assert omlab("link", "--name", name, "1", "up").returncode == 0
    finally:
        gone = omlab("down", "--name", name)
    assert gone.returncode == 0, gone.stderr
    assert traces(name) == []
    assert omlab("down", "--name", name).returncode == 1
    assert "no cluster" in omlab("exec", "--name", name, "1", "true").stderr


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 60])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        state.lab_directory(name)


@pytest.mark.parametrize("count", [0, -1, 100])
def test_a_bad_number_of_nodes_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 99"):
        Cluster(count)
