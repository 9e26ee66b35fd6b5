"""Virtual nodes: what each has for itself, how programs run in them, what links do."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from omlab.cluster import Cluster
from omlab.process import PIPE, TERMINAL

pytestmark = [pytest.mark.lab]

LISTENER = """
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 7777))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
             socket.inet_aton("239.192.7.7") + socket.inet_aton("0.0.0.0"))
print("listening", flush=True)
while True:
    data = s.recv(100)
    print(data.decode(), flush=True)
    if data == b"end":
        break
"""
SPEAKER = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for word in sys.argv[1:]:
    s.sendto(word.encode(), ("239.192.7.7", 7777))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(3, start_daemon=False) as made:
        yield made


@pytest.mark.parametrize(
    "directory",
    ["/etc", "/etc/openmosix", "/home", "/root", "/run", "/tmp", "/var/lib/openmosix", "/var/log", "/dev/shm", "/"],
)
def test_a_file_of_one_node_is_not_on_another(cluster: Cluster, directory: str) -> None:
    name = f"{directory.rstrip('/')}/only-on-one-{os.getpid()}"
    cluster.nodes[1].run(["touch", name])
    assert cluster.nodes[1].path_of(name).exists()
    assert not cluster.nodes[2].path_of(name).exists()
    assert not Path(name).exists()


def test_nodes_have_their_own_namespaces_and_a_common_key(cluster: Cluster) -> None:
    for kind in ("mnt", "net", "pid", "uts", "ipc", "cgroup"):
        seen = {os.readlink(f"/proc/{node.init_pid}/ns/{kind}") for node in cluster.nodes.values()}
        assert len(seen | {os.readlink(f"/proc/self/ns/{kind}")}) == 4
    keys = {node.path_of("/etc/openmosix/cluster.key").read_text() for node in cluster.nodes.values()}
    assert len(keys) == 1
    assert [n.run(["hostname"]).stdout for n in cluster.nodes.values()] == ["node1\n", "node2\n", "node3\n"]


def test_the_ordinary_user_has_a_home_and_no_rights(cluster: Cluster) -> None:
    node = cluster.nodes[2]
    told = node.run(["sh", "-c", "id -u; id -un; pwd; touch mine; grep CapEff /proc/self/status"], user="om").stdout
    assert told.split() == ["1000", "om", "/home/user", "CapEff:", "0000000000000000"]
    assert node.path_of("/home/user/mine").stat().st_uid == 1000
    assert node.run(["cat", "/etc/openmosix/cluster.key"], user="om", check=False).returncode != 0


def test_programs_start_with_clean_signals_and_descriptors_of_the_node(cluster: Cluster) -> None:
    told = cluster.nodes[1].run(["cat", "/proc/self/status"]).stdout
    fields = dict(line.split(":\t", 1) for line in told.splitlines() if line.startswith("Sig"))
    assert int(fields["SigIgn"], 16) == int(fields["SigBlk"], 16) == 0
    # Its own view of the directory is the fourth.
    assert cluster.nodes[1].run(["ls", "/proc/self/fd"]).stdout.split() == ["0", "1", "2", "3"]


def test_exit_statuses_and_signals_arrive(cluster: Cluster) -> None:
    node = cluster.nodes[1]
    assert node.run(["sh", "-c", "exit 7"], check=False).returncode == 7
    assert node.run(["sh", "-c", "kill -9 $$"], check=False).returncode == -signal.SIGKILL
    assert node.run(["/no/such/program"], check=False).returncode == 127
    with pytest.raises(subprocess.CalledProcessError):
        node.run(["false"])


def test_large_data_passes_through_a_program(cluster: Cluster) -> None:
    data = b"x" * 1_000_000
    assert cluster.nodes[1].run(["cat"], data=data).stdout == data.decode()


def test_a_program_that_takes_too_long_is_killed(cluster: Cluster) -> None:
    node = cluster.nodes[1]
    with pytest.raises(subprocess.TimeoutExpired):
        node.run(["sleep", "4321"], timeout_s=0.2)
    assert "4321" not in node.run(["ps", "ax"]).stdout


def test_pids_inside_and_outside_name_the_same_process(cluster: Cluster) -> None:
    with cluster.nodes[3].popen(["sleep", "600"]) as process:
        assert Path(f"/proc/{process.host_pid}/cmdline").read_bytes() == b"sleep\x00600\x00"
        assert cluster.nodes[3].path_of(f"/proc/{process.pid}/cmdline").read_bytes() == b"sleep\x00600\x00"


def test_a_terminal_of_the_node_delivers_interrupts(cluster: Cluster) -> None:
    places = {"stdin": TERMINAL, "stdout": TERMINAL, "stderr": TERMINAL}
    with cluster.nodes[1].popen(["sh", "-c", "tty; stty size; exec cat"], user="om", **places) as process:
        assert process.terminal is not None
        seen = b""
        while seen.count(b"\n") < 2:
            seen += os.read(process.terminal, 1000)
        assert seen.split() == [b"/dev/pts/0", b"24", b"80"]
        os.write(process.terminal, b"\x03")
        assert process.wait() == -signal.SIGINT


def test_orphans_are_reaped(cluster: Cluster) -> None:
    node = cluster.nodes[2]
    node.run(["sh", "-c", "(true &); (false &)"])
    node.wait_for(lambda: node.processes() == [1], "an empty node")


def test_announcements_reach_all_until_a_link_is_cut(cluster: Cluster) -> None:
    one, two, three = cluster.nodes.values()
    with (
        two.popen(["/usr/bin/python3", "-c", LISTENER], stdout=PIPE) as at_two,
        three.popen(["/usr/bin/python3", "-c", LISTENER], stdout=PIPE) as at_three,
    ):
        assert at_two.stdout is not None
        assert at_three.stdout is not None
        for process in (at_two, at_three):
            assert process.stdout is not None
            assert process.stdout.readline() == b"listening\n"
        one.run(["/usr/bin/python3", "-c", SPEAKER, "both"])
        assert (at_two.stdout.readline(), at_three.stdout.readline()) == (b"both\n", b"both\n")
        three.link("loss", 100)
        one.run(["/usr/bin/python3", "-c", SPEAKER, *["lost"] * 20])
        three.link("up")
        one.run(["/usr/bin/python3", "-c", SPEAKER, "end"])
        assert at_three.stdout.read() == b"end\n"
        assert at_two.communicate()[0] == b"lost\n" * 20 + b"end\n"


def test_a_cable_can_be_pulled(cluster: Cluster) -> None:
    node = cluster.nodes[2]

    def carrier() -> str:
        return node.run(["cat", "/sys/class/net/eth1/carrier"]).stdout.strip()

    node.link("down")
    node.wait_for(lambda: carrier() == "0", "no carrier")
    node.link("up")
    node.wait_for(lambda: carrier() == "1", "a carrier")


def test_limits_are_in_force_in_the_node() -> None:
    with Cluster(1, start_daemon=False, quota_percent=50, cores=["0"]) as limited:
        node = limited.nodes[1]
        assert node.run(["nproc"]).stdout == "1\n"
        script = "cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu*/cpu.cfs_quota_us"
        assert node.run(["sh", "-c", script]).stdout.split()[0] == "50000"


def test_a_daemon_that_does_not_start_says_why(cluster: Cluster) -> None:
    with pytest.raises(RuntimeError, match="omdiscd ended with status"):
        cluster.nodes[3].start_daemon(arguments=("-n", "-i", "nosuch0"))
