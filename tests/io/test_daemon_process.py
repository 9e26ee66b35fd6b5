"""The daemon as a user meets it: real processes, real sockets, on loopback addresses of their own."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from omdiscd.wire.header import MAGIC, Header, pack_header
from omdiscd.wire.messages import Pulse, encode_message
from omdiscd.wire.seal import Sealer, key_id
from omprotocol import control
from omprotocol.errors import MosixError
from tests.support.daemons import DEADLINE_S, GOSSIP_PORT, KEY, OneDaemon


@pytest.fixture
def one() -> Iterator[OneDaemon]:
    daemon = OneDaemon(1)
    try:
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def two() -> Iterator[OneDaemon]:
    daemon = OneDaemon(2, seeds=(1,))
    try:
        yield daemon
    finally:
        daemon.close()


def test_two_daemons_meet_show_their_map_and_leave(one: OneDaemon, two: OneDaemon) -> None:
    one.start()
    two.start()
    one.wait_for_state(two.node, "alive")
    two.wait_for_state(one.node, "alive")
    shown = one.run("moscmd.showmap")
    assert shown.returncode == 0
    assert shown.stdout.splitlines() == [
        f"My Node-Id: 0x{one.node:04x}",
        "",
        "Base Node-Id Address          Count",
        "------------ ---------------- -----",
        f"0x{one.node:04x}       {one.address:<16s} 1",
        f"0x{two.node:04x}       {two.address:<16s} 1",
    ]
    facts = json.loads(two.run("moscmd.showmap", "--json").stdout)
    assert (facts["version"], facts["kind"]) == (1, "showmap")
    assert facts["data"]["node"] == two.node
    assert [entry["node"] for entry in facts["data"]["entries"]] == [one.node, two.node]

    assert two.end() == 0
    one.wait_for_state(two.node, "left")
    assert not two.paths.control_socket.exists()
    assert not two.paths.pid_file.exists()
    two.start()
    one.wait_for_state(two.node, "alive")
    assert one.end(signal.SIGINT) == 0
    two.wait_for_state(one.node, "left")


def test_a_death_is_noticed_and_so_is_the_return(two: OneDaemon) -> None:
    watcher = OneDaemon(1, is_patient=False)
    try:
        watcher.start()
        two.start()
        watcher.wait_for_state(two.node, "alive")
        assert two.end(signal.SIGKILL) == -signal.SIGKILL
        watcher.wait_for_state(two.node, "dead")
        two.start()
        watcher.wait_for_state(two.node, "alive")
    finally:
        watcher.close()


def test_debug_lines_come_and_go_with_a_signal(one: OneDaemon, two: OneDaemon) -> None:
    one.start()
    two.start()
    assert one.process is not None
    one.process.send_signal(signal.SIGUSR1)
    one.wait_for(lambda _status: "membership.heard kind=" in one.log.read_text())
    one.process.send_signal(signal.SIGUSR1)
    one.wait_for(lambda _status: "daemon.debug debug=False" in one.log.read_text())


def test_a_second_daemon_on_the_machine_is_refused(one: OneDaemon) -> None:
    one.start()
    assert one.process is not None
    for options in (["-n"], []):
        second = one.run("omdiscd.main", *options)
        assert second.returncode == 1
        assert f"already running on this machine (pid {one.process.pid})" in second.stderr
        assert "Traceback" not in second.stderr
    assert one.status()["pid"] == one.process.pid


def test_garbage_forged_and_replayed_datagrams_are_counted_and_dropped(one: OneDaemon, two: OneDaemon) -> None:
    one.start()
    two.start()
    one.wait_for_state(two.node, "alive")
    header = pack_header(Header(key_id(KEY, ""), two.node, bytes(16), 1))
    old_start = Sealer(KEY, "", two.node, bytes(16)).seal(encode_message(Pulse(1, 1, b"")))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((two.address, 0))
        for datagram in (b"", b"x", os.urandom(1400), os.urandom(9000), MAGIC.to_bytes(4, "big") + bytes(60)):
            sender.sendto(datagram, (one.address, GOSSIP_PORT))
        sender.sendto(header + bytes(100), (one.address, GOSSIP_PORT))
        sender.sendto(old_start, (one.address, GOSSIP_PORT))
        sender.sendto(old_start, (one.address, GOSSIP_PORT))

    def all_counted(status: dict[str, dict[str, dict[str, int]]]) -> bool:
        counted = status["counters"]["datagrams"]
        return counted.get("foreign", 0) >= 5 and counted.get("forged", 0) >= 1 and counted.get("challenged", 0) >= 2

    one.wait_for(all_counted)
    assert one.states() == {two.node: "alive"}


def test_the_later_user_of_a_node_number_stays_out_and_both_say_so(one: OneDaemon) -> None:
    one.start()
    late = OneDaemon(1, seeds=(1,), is_twin=True)
    try:
        late.start(state="out")
        shown = late.run("moscmd.showmap")
        assert (shown.returncode, shown.stdout) == (1, "openMosix not configured.\n")
        assert f"0x{one.node:04x} is in use by {one.address}" in shown.stderr
        collisions = one.wait_for(lambda status: status["collisions"] != [])["collisions"]
        assert collisions[0]["address"] == late.address
        assert "membership.collision" in one.log.read_text()
        assert "membership.collision" in late.log.read_text()
        assert one.end() == 0
        late.wait_for(lambda status: status["state"] == "active")
        assert late.run("moscmd.showmap").returncode == 0
    finally:
        late.close()


def test_another_cluster_key_makes_another_cluster(one: OneDaemon, two: OneDaemon) -> None:
    two.write_key(os.urandom(32))
    one.start()
    two.start()
    one.wait_for(lambda s: {"other_cluster", "forged"} & s["counters"]["datagrams"].keys() != set())
    assert one.states() == two.states() == {}


@pytest.mark.parametrize(
    ("mode", "text", "word"),
    [(0o440, None, "chmod 0400"), (0o604, None, "chmod 0400"), (0o400, "short\n", "32 bytes")],
)
def test_a_lax_or_broken_key_file_is_refused(one: OneDaemon, mode: int, text: str | None, word: str) -> None:
    one.write_key(KEY)
    if text is not None:
        one.paths.cluster_key.chmod(0o600)
        one.paths.cluster_key.write_text(text)
    one.paths.cluster_key.chmod(mode)
    refused = one.run("omdiscd.main", "-n")
    assert refused.returncode == 1
    assert str(one.paths.cluster_key) in refused.stderr
    assert word in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_key_is_made_at_the_first_start(one: OneDaemon) -> None:
    one.paths.cluster_key.unlink()
    one.start()
    assert one.paths.cluster_key.stat().st_mode & 0o777 == 0o400
    assert "made a new cluster key" in one.log.read_text()
    shown = json.loads(one.run("moscmd.key", "show", "--json").stdout)
    assert shown["data"]["fingerprint"] == one.status()["key_fingerprint"]
    again = one.run("moscmd.key", "init")
    assert again.returncode == 3
    assert "already" in again.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[network]\nmulticast_ttl = 300\n", ["network.multicast_ttl", "<= 255"]),
        ("[network]\nintefaces = []\n", ["network", "intefaces"]),
        ("[membership]\nperiod_s = 'fast'\n", ["membership.period_s", "float"]),
        ("what?\n", ["openmosix.toml"]),
    ],
)
def test_a_wrong_configuration_is_named(one: OneDaemon, line: str, words: list[str]) -> None:
    one.paths.config_file.write_text(line)
    refused = one.run("omdiscd.main", "-n")
    assert refused.returncode == 1
    for word in (*words, str(one.paths.config_file)):
        assert word in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["-n", "-i", "nosuch0"], "nosuch0"),
        (["-n", "-i", "a,b,c,d,e,f,g"], "one to 6"),
        (["-n", "-i", "lo,lo"], "different"),
        (["-n", "-m", "0"], "TTL"),
        (["-n", "-m", "256"], "TTL"),
        (["--nonsense"], "nonsense"),
    ],
)
def test_wrong_options_end_with_one_clear_error(one: OneDaemon, options: list[str], word: str) -> None:
    refused = one.run("omdiscd.main", *options)
    assert refused.returncode == 1
    assert word in refused.stderr
    assert "Traceback" not in refused.stderr


def test_help_names_the_options(one: OneDaemon) -> None:
    shown = one.run("omdiscd.main", "-h")
    assert shown.returncode == 0
    for option in ("-n", "-i", "-m", "--interface", "--nodaemon", "--multicast-ttl"):
        assert option in shown.stdout


def test_in_the_background_the_command_returns_when_the_daemon_serves(one: OneDaemon) -> None:
    started = one.run("omdiscd.main")
    assert (started.returncode, started.stderr) == (0, "")
    status = one.status()
    pid = int(one.paths.pid_file.read_text())
    descriptor = os.pidfd_open(pid)
    try:
        assert status["pid"] == pid
        assert os.getsid(pid) != os.getsid(0)
        signal.pidfd_send_signal(descriptor, signal.SIGUSR1)
        signal.pidfd_send_signal(descriptor, signal.SIGHUP)
        assert one.status()["pid"] == pid
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        _wait_until_gone(descriptor)
    except BaseException:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        raise
    finally:
        os.close(descriptor)
    assert not one.paths.pid_file.exists()
    assert one.run("moscmd.showmap").returncode == 6


@pytest.mark.parametrize(
    ("kind", "port", "word"), [(socket.SOCK_STREAM, 24660, "TCP port 24660"), (socket.SOCK_DGRAM, 25428, "UDP port")]
)
def test_a_port_in_use_is_named(one: OneDaemon, kind: int, port: int, word: str) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind((one.address, port))
        if kind == socket.SOCK_STREAM:
            other.listen()
        for options in (["-n"], []):
            refused = one.run("omdiscd.main", *options)
            assert refused.returncode == 1
            assert word in refused.stderr
            assert "Traceback" not in refused.stderr


def test_a_static_map_gives_the_numbers_and_a_reload_takes_it(one: OneDaemon, two: OneDaemon) -> None:
    one.start()
    two.start()
    text = f"700 {one.address} 1\n# a comment\n900 {two.address} 1\n33 10.9.9.9 2\n"
    for daemon in (one, two):
        daemon.paths.map_file.write_text(text)
        assert control.request("reload", timeout_s=DEADLINE_S, paths=daemon.paths) == {"changed": True}
    one.wait_for_state(900, "alive")
    two.wait_for_state(700, "alive")
    rows = one.run("moscmd.showmap", "--all").stdout.splitlines()
    assert rows[0] == "My Node-Id: 0x02bc"
    assert [row.split()[0] for row in rows[4:]] == ["0x0021", "0x0022", "0x02bc", "0x0384"]
    assert len(one.run("moscmd.showmap").stdout.splitlines()) == 6

    one.paths.map_file.write_text("1 10.9.9.9 1\n1 10.9.9.8 1\n")
    with pytest.raises(MosixError) as refused:
        control.request("reload", timeout_s=DEADLINE_S, paths=one.paths)
    assert refused.value.code == "bad-map"
    assert one.status()["node"] == 700


@pytest.mark.root
def test_without_a_default_route_the_daemon_says_so(one: OneDaemon) -> None:
    one.paths.config_file.unlink()
    command = ["unshare", "--net", sys.executable, "-m", "omdiscd.main"]
    for options in (["-n"], []):
        ended = subprocess.run(
            [*command, *options],
            env=one.environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert ended.returncode == 1
        assert "default interface" in ended.stderr
        assert "Unable to initialize network. Exiting." in ended.stderr


def _wait_until_gone(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(DEADLINE_S * 1000), "the daemon did not end"
