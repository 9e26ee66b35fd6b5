"""Administration at run time: storing, asking other nodes, emptying a node, who may steer which process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from omdiscd.admin.interfaces import GuestHere, ProcessAway
from omdiscd.admin.service import AdminService
from omdiscd.admin.verbs import AdminVerbs
from omdiscd.control.registry import Caller, Registry
from omdiscd.io.peer_server import PeerCaller, PeerRegistry
from omprotocol.errors import MosixError
from tests.support.fake_cluster import FakeCluster, FakeMigration

ROOT = Caller(0, 0, os.getpid(), is_admin=True)
USER = Caller(os.getuid() + 4711, 100, os.getpid())
GOOD = {
    "load": 50, "speed": 15000, "cpus": 2, "util": 200, "mem": 10, "rmem": 5, "tmem": 20, "status": 3,
}  # fmt: skip


async def answer_facts(verb: str, _args: Mapping[str, Any]) -> dict[str, Any]:
    assert verb == "node.facts"
    return dict(GOOD)


class Bench:
    """One service with its verbs registered."""

    def __init__(self, state: Path, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.migration = FakeMigration()
        self.service = AdminService(state, cluster, self.migration, speed=15000)
        self.registry, self.peers = Registry(), PeerRegistry()
        AdminVerbs(self.service).register(self.registry, self.peers)

    async def ask(self, verb: str, caller: Caller = ROOT, **args: Any) -> dict[str, Any]:
        return await self.registry.handle(caller, verb, args)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, FakeCluster(1, {2: answer_facts, 3: None}))
    ready = asyncio.Event()
    running = asyncio.create_task(made.service.run(ready))
    await ready.wait()
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_settings_are_kept_across_restarts(bench: Bench, tmp_path: Path) -> None:
    assert await bench.ask("admin.set", name="block", value=1) == {"already": False}
    assert await bench.ask("admin.set", name="block", value=1) == {"already": True}
    assert await bench.ask("admin.decay", interval=5, slow=900, fast=800) == {"already": False}
    again = AdminService(tmp_path, FakeCluster(), FakeMigration(), speed=1).settings
    assert (again.block, again.decayinterval, again.slowdecay, again.fastdecay) == (True, 5, 900, 800)


async def test_a_spoilt_store_is_not_fatal(tmp_path: Path) -> None:
    (tmp_path / "admin.json").write_text('{"block": tru')
    assert not AdminService(tmp_path, FakeCluster(), FakeMigration()).settings.block


async def test_what_cannot_be_stored_is_not_done(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "admin.new").mkdir()
    with pytest.raises(MosixError, match="nothing changed"):
        await bench.ask("admin.set", name="stay", value=1)
    assert not bench.service.settings.stay


async def test_users_may_look_but_not_change(bench: Bench) -> None:
    assert (await bench.ask("admin.get", USER))["settings"]["sspeed"] == 15000
    with pytest.raises(MosixError, match="Permission denied"):
        await bench.ask("admin.set", USER, name="block", value=1)


async def test_facts_of_nodes(bench: Bench) -> None:
    own = await bench.ask("node.facts")
    assert own["status"] == 3
    assert own["tmem"] > own["rmem"] > 0
    await bench.ask("admin.set", name="sspeed", value=7500)
    assert (await bench.ask("node.facts", node=2))["load"] == 25
    for node, code in ((3, "no-response"), (9, "no-such-node"), (70000, "improper-value")):
        with pytest.raises(MosixError) as caught:
            await bench.ask("node.facts", node=node)
        assert caught.value.code == code
    assert await bench.ask("node.isup", node=3) == {"up": False}
    assert await bench.ask("node.isup", node=2) == {"up": True}
    rows = (await bench.ask("node.table"))["nodes"]
    assert [(row["node"], row["up"]) for row in rows] == [(1, True), (2, True), (3, False)]


async def test_many_readers_ask_a_node_once(bench: Bench) -> None:
    await asyncio.gather(*(bench.ask("node.facts", node=3) for _ in range(50)), return_exceptions=True)
    assert bench.cluster.calls.count((3, "node.facts")) == 1


@pytest.mark.parametrize("spoilt", [{"load": -1}, {"cpus": 0}, {"mem": 10**30}, {"speed": "x"}, {"util": None}])
async def test_a_node_that_answers_nonsense_counts_as_silent(bench: Bench, spoilt: dict[str, Any]) -> None:
    async def answer(_verb: str, _args: Mapping[str, Any]) -> dict[str, Any]:
        return GOOD | spoilt

    bench.cluster.others[2] = answer
    assert await bench.ask("node.isup", node=2) == {"up": False}


async def test_whois(bench: Bench) -> None:
    assert (await bench.ask("node.whois"))["node"] == 1
    assert (await bench.ask("node.whois", node=3))["address"] == "10.77.0.3"
    assert (await bench.ask("node.whois", address="10.77.0.2"))["node"] == 2
    for args in ({"node": 9}, {"address": "10.9.9.9"}, {"address": "so"}):
        with pytest.raises(MosixError):
            await bench.ask("node.whois", **args)


async def test_expel_sends_all_away_and_goes_on_blocking(bench: Bench) -> None:
    bench.migration.guest_list = [GuestHere(pid, 2, pid, 1000) for pid in range(10, 30)]
    assert await bench.ask("admin.expel") == {"moved": 20}
    assert bench.service.settings.block
    assert bench.migration.guest_list == []


async def test_expel_names_who_could_not_leave(bench: Bench) -> None:
    bench.migration.guest_list = [GuestHere(10, 2, 10, 1000), GuestHere(11, 2, 11, 1000)]
    bench.migration.immovable = {11: "its home does not answer"}
    with pytest.raises(MosixError, match=r"1 guest.*11: its home does not answer"):
        await bench.ask("admin.expel")


async def test_bring_keeps_processes_here(bench: Bench) -> None:
    bench.migration.away_list = [ProcessAway(50, 2), ProcessAway(51, 3)]
    assert await bench.ask("admin.bring") == {"moved": 2}
    assert bench.service.settings.lstay


async def test_who_stops_waiting_does_not_cut_a_move_off(bench: Bench) -> None:
    bench.migration.guest_list = [GuestHere(10, 2, 10, 1000)]
    bench.migration.gate.clear()
    waiting = asyncio.create_task(bench.ask("admin.expel"))
    await bench.migration.started.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    bench.migration.gate.set()
    async with asyncio.timeout(20):
        while bench.migration.guest_list:
            await asyncio.sleep(0)


async def test_no_further_move_is_begun_once_the_caller_is_gone(bench: Bench) -> None:
    bench.migration.guest_list = [GuestHere(pid, 2, pid, 1000) for pid in range(10, 50)]
    caller = Caller(0, 0, 1, is_admin=True, is_gone=True)
    with pytest.raises(MosixError, match="Nobody waits"):
        await bench.ask("admin.expel", caller)
    assert 1 <= len(bench.migration.moves) <= 8


async def test_orders_for_another_node_are_passed_on(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    other = Bench(tmp_path / "two", FakeCluster(2))

    async def answer(verb: str, args: Mapping[str, Any]) -> dict[str, Any]:
        return await other.peers.handle(PeerCaller(1, "10.77.0.1"), verb, dict(args))

    bench.cluster.others[2] = answer
    assert await bench.ask("admin.set", name="block", value=1, node=2) == {"already": False}
    assert other.service.settings.block
    assert not bench.service.settings.block
    with pytest.raises(MosixError, match="not configured"):
        await bench.ask("admin.set", name="block", value=1, node=77)
    with pytest.raises(MosixError):
        await bench.ask("admin.set", USER, name="block", value=0, node=2)


async def test_process_settings_belong_to_the_owner(bench: Bench) -> None:
    mine = Caller(os.getuid(), os.getgid(), os.getpid())
    facts = await bench.ask("process.set", mine, set={"lock": 1, "cpujob": 1})
    assert (facts["pid"], facts["lock"], facts["decay"], facts["where"]) == (os.getpid(), True, "cpujob", 0)
    with pytest.raises(MosixError, match="another user"):
        await bench.ask("process.set", USER, set={"lock": 0})
    with pytest.raises(MosixError, match="No such process"):
        await bench.ask("process.get", pid=2**22 + 1)


async def test_children_inherit_and_keep_settings_when_the_parent_ends(bench: Bench) -> None:
    # A process between us and the grandchild takes the setting and then ends.
    script = (
        "import os, sys\n"
        "sys.stdin.readline()\n"
        "child = os.fork()\n"
        "if child: print(child, flush=True); sys.stdin.readline(); os._exit(0)\n"
        "os.setsid(); os.read(int(sys.argv[1]), 1)\n"
    )
    reading, writing = os.pipe()
    child = 0
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(reading)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[reading],
    )  # fmt: skip
    assert parent.stdin
    assert parent.stdout
    try:
        bench.service.processes.set(parent.pid, "lock", 1, os.getuid(), False)
        parent.stdin.write("fork\n")
        parent.stdin.flush()
        child = int(parent.stdout.readline())
        assert bench.service.processes.rules(child).lock
        bench.service.processes.carry_on()
        parent.stdin.write("end\n")
        parent.stdin.close()
        parent.wait(60)
        assert bench.service.processes.rules(child).lock
        listed = {row["pid"]: row for row in (await bench.ask("process.list"))["processes"]}
        assert listed[child]["lock"] is True
    finally:
        os.close(writing)
        os.close(reading)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        parent.stdin.close()
