"""The hpc tree as the kernel shows it: texts, modes, refusals, waiting, interruption, dead daemons."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from migrated.mfs.mount import detach, mount_fuse, open_device
from omdiscd.admin.interfaces import GuestHere, ProcessAway
from omdiscd.admin.service import AdminService
from omdiscd.hpc.mounted import serve_hpc
from omdiscd.hpc.node_files import INFO_RECORD
from tests.support.fake_cluster import FakeCluster, FakeMigration

pytestmark = pytest.mark.fuse
WAIT_S = 60
STRANGER = 4711


async def answer_facts(_verb: str, _args: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "load": 50, "speed": 15000, "cpus": 2, "util": 200, "mem": 10, "rmem": 5, "tmem": 20, "status": 3,
    }  # fmt: skip


class Mounted:
    """A served tree; visitors are processes of their own, since the loop must never wait for itself."""

    def __init__(self, base: Path) -> None:
        self.path = base / "hpc"
        self.cluster = FakeCluster(1, {2: answer_facts, 3: None})
        self.migration = FakeMigration()
        (base / "state").mkdir()
        self.service = AdminService(base / "state", self.cluster, self.migration, speed=9967)

    async def run(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.service.run())
            tasks.create_task(serve_hpc(self.path, self.service, "openMosix Version 0", ready))

    async def sh(self, script: str, user: int | None = None) -> tuple[int, str]:
        """Run a shell script at / with H set; exit status and both outputs."""
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", script, cwd="/", env={"H": str(self.path), "PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, user=user, group=user,
        )  # fmt: skip
        async with asyncio.timeout(WAIT_S):
            output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def read(self, name: str) -> str:
        return (await self.sh(f'cat "$H/{name}"'))[1]


@pytest.fixture
async def hpc(run_label: str) -> AsyncIterator[Mounted]:
    # Not below pytest's own directory: other users must be able to reach it.
    base = Path(tempfile.mkdtemp(prefix=f"{run_label}-hpc-"))
    base.chmod(0o755)
    made = Mounted(base)
    ready = asyncio.Event()
    running = asyncio.create_task(made.run(ready))
    try:
        async with asyncio.timeout(WAIT_S):
            await ready.wait()
        yield made
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        left_mounted = detach(made.path)
        shutil.rmtree(base)
    assert not left_mounted


async def test_the_tree_has_the_names_and_modes_of_openmosix(hpc: Mounted) -> None:
    assert (await hpc.sh("ls $H"))[1].split() == ["admin", "decay", "info", "nodes", "pid", "remote"]
    status, listed = await hpc.sh("cd $H && stat -c '%a %n' admin/* decay/* nodes/2/* info/infos pid/self/*")
    assert status == 0
    modes = dict(reversed(line.split()) for line in listed.splitlines())
    for name in ("stay", "lstay", "block", "quiet", "nomfs", "speed", "sspeed", "overheads", "mfscosts", "mospe"):
        assert modes.pop(f"admin/{name}") == "644"
    for name in ("slowdecay", "fastdecay", "decayinterval", "gateways", "dfsalinks", "config"):
        assert modes.pop(f"admin/{name}") == "644"
    for name in ("expel", "bring", "mfskill"):
        assert modes.pop(f"admin/{name}") == "200"
    for name in ("cpujob", "iojob", "slow", "fast", "own", "inherit", "exec", "execonce"):
        assert modes.pop(f"decay/{name}") == "666"
    for name in ("cpus", "load", "speed", "mem", "rmem", "tmem", "util", "status"):
        assert modes.pop(f"nodes/2/{name}") == "444"
    for name in ("lock", "sigmig", "disclosure", "selected", "migfilter", "migpolicy", "mignodes", "miggroup"):
        assert modes.pop(f"pid/self/{name}") == "644"
    assert modes == {
        "admin/version": "444", "admin/map": "444", "decay/clear": "222", "info/infos": "444",
        "pid/self/where": "444", "pid/self/nmigs": "444", "pid/self/cantmove": "444",
        "pid/self/goto": "222", "pid/self/migrate": "200",
    }  # fmt: skip


async def test_switches_by_echo(hpc: Mounted) -> None:
    assert await hpc.sh("echo 1 > $H/admin/block; cat $H/admin/block") == (0, "1\n")
    assert hpc.service.settings.block
    status, said = await hpc.sh("echo abc > $H/admin/block")
    assert status != 0
    assert "Invalid argument" in said or "I/O error" in said
    assert (await hpc.sh("echo 2 > $H/admin/stay"))[0] != 0
    assert await hpc.read("admin/speed") == "9967\n"
    assert (await hpc.sh("echo 1000 > $H/admin/fastdecay"))[0] != 0
    assert await hpc.sh("tee $H/admin/sspeed </dev/null; printf 10000 >> $H/admin/sspeed") == (0, "")
    assert await hpc.read("admin/sspeed") == "10000\n"
    assert await hpc.read("admin/overheads") == "81 150 39 38 0 11 0 18 0 18 0 12 8141 351\n"
    assert await hpc.read("admin/mospe") == "1\n"
    assert await hpc.read("admin/version") == "openMosix Version 0\n"
    assert await hpc.read("admin/map") == "1 10.77.0.1 3\n"
    _, table = await hpc.sh("od -An -v -tx1 $H/admin/config | tr -d ' \\n'")
    assert table == "01000000020000000a4d0001" + "00" * 8 + "03000000"


async def test_the_errno_of_a_bad_value_is_einval(hpc: Mounted) -> None:
    def write() -> int:
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(hpc.path / "admin/block", os.O_WRONLY)
            try:
                os.write(descriptor, b"abc\n")
            except OSError as error:
                return error.errno or 0
            finally:
                os.close(descriptor)
        return 0

    assert await asyncio.to_thread(write) == errno.EINVAL


async def test_the_tree_cannot_be_changed(hpc: Mounted) -> None:
    for order in ("mkdir $H/new", "rm $H/admin/block", "touch $H/new", "chmod 777 $H/admin/block", "ln -s x $H/y"):
        status, said = await hpc.sh(order)
        assert status != 0
        assert "not permitted" in said or "Permission denied" in said
    assert (await hpc.sh("touch $H/admin/block"))[0] == 0
    assert (await hpc.sh("cat $H/admin/expel"))[0] != 0
    assert (await hpc.sh("ls $H/nodes/9 $H/pid/4194305"))[0] != 0


async def test_an_ordinary_user_looks_but_does_not_change(hpc: Mounted) -> None:
    assert await hpc.sh("cat $H/admin/block", STRANGER) == (0, "0\n")
    for name, value in (("admin/block", "1"), ("admin/expel", "1"), (f"pid/{os.getpid()}/lock", "1")):
        status, said = await hpc.sh(f"echo {value} > $H/{name}", STRANGER)
        assert status != 0
        assert "Permission denied" in said
    status, said = await hpc.sh(f"echo 0 > $H/pid/{os.getpid()}/goto", STRANGER)
    assert status != 0
    assert hpc.migration.moves == []


async def test_users_steer_their_own_processes(hpc: Mounted) -> None:
    script = (
        "echo 1 > $H/pid/self/lock && echo 1 > $H/decay/cpujob && echo '900 5' > $H/decay/own &&"
        "cat $H/pid/$$/lock $H/decay/own $H/decay/cpujob && echo 1 > $H/decay/clear &&"
        "echo 2 3 > $H/pid/$$/mignodes && cat $H/pid/$$/mignodes $H/pid/$$/where && echo 0 > $H/decay/slow"
    )
    status, said = await hpc.sh(script, STRANGER)
    assert said.splitlines()[:5] == ["1", "900 5", "0", "2 3", "0"]
    assert status != 0


async def test_cantmove_and_goto(hpc: Mounted) -> None:
    victim = await asyncio.create_subprocess_exec("/bin/sleep", "600")
    try:
        pid = victim.pid
        hpc.migration.reasons[pid] = ["clone_vm", "mem_lock"]
        assert await hpc.read(f"pid/{pid}/cantmove") == "clone_vm, mem_lock\n"
        status, _ = await hpc.sh(f"echo 2 > $H/pid/{pid}/goto")
        assert status != 0
        hpc.migration.reasons.clear()
        assert await hpc.read(f"pid/{pid}/cantmove") == ""
        assert (await hpc.sh(f"echo 9 > $H/pid/{pid}/goto"))[0] != 0
        assert (await hpc.sh(f"echo -2 > $H/pid/{pid}/goto"))[0] != 0
        assert await hpc.sh(f"echo 2 > $H/pid/{pid}/goto") == (0, "")
        async with asyncio.timeout(WAIT_S):
            await hpc.migration.started.wait()
            while not hpc.migration.away_list:
                await asyncio.sleep(0)
        assert await hpc.read(f"pid/{pid}/where") == "2\n"
        assert await hpc.read(f"pid/{pid}/nmigs") == "1\n"
    finally:
        victim.kill()
        await victim.wait()


async def test_nodes_answer_for_themselves_and_silent_ones_read_minus_101(hpc: Mounted) -> None:
    assert await hpc.read("nodes/2/load") == "50\n"
    assert await hpc.read("nodes/3/load") == "-101\n"
    assert await hpc.read("nodes/3/status") == "1\n"
    assert await hpc.read("nodes/1/status") == "3\n"
    assert await hpc.read("info/speeds") == "1 9967\n2 15000\n3 -101\n"
    _, dumped = await hpc.sh("od -An -v -tx1 $H/info/infos")
    records = list(INFO_RECORD.iter_unpack(bytes.fromhex(dumped.replace("\n", ""))))
    assert records[1] == (50, 15000, 2, 200, 3, 10, 5, 20)
    assert records[2] == (0, 0, 0, 0, 1, 0, 0, 0)


async def test_guests(hpc: Mounted) -> None:
    guest = await asyncio.create_subprocess_exec("/bin/sleep", "600")
    try:
        hpc.migration.guest_list = [GuestHere(guest.pid, 2, 77, 1000, 100, 3, "sleep")]
        assert await hpc.read(f"remote/{guest.pid}/from") == "2\n"
        identity = await hpc.read(f"remote/{guest.pid}/identity")
        assert identity.splitlines()[:4] == ["uid=1000", "gid=100", "pid=77", "tgid=77"]
        assert identity.splitlines()[6:] == ["nmigs=3", "command=sleep"]
        stats = await hpc.read(f"remote/{guest.pid}/stats")
        assert [line.split("=")[0] for line in stats.splitlines()] == [
            "utime", "cutime", "nice", "state", "vsize", "rss", "nswap", "cnswap",
        ]  # fmt: skip
        assert len((await hpc.read(f"remote/{guest.pid}/statm")).split()) == 7
        assert await hpc.sh(f"echo 0 > $H/remote/{guest.pid}/goto") == (0, "")
        async with asyncio.timeout(WAIT_S):
            while hpc.migration.guest_list:
                await asyncio.sleep(0)
        assert (await hpc.sh(f"ls $H/remote/{guest.pid}"))[0] != 0
    finally:
        guest.kill()
        await guest.wait()


async def test_expel_returns_when_done_and_bring_too(hpc: Mounted) -> None:
    hpc.migration.guest_list = [GuestHere(10, 2, 10, 1000)]
    hpc.migration.away_list = [ProcessAway(50, 2)]
    assert await hpc.sh("echo 1 > $H/admin/expel && echo 1 > $H/admin/bring && cat $H/admin/block $H/admin/lstay") == (
        0,
        "1\n1\n",
    )
    assert hpc.migration.moves == [(10, "home"), (50, "home")]


async def test_a_waiting_writer_can_be_interrupted_and_killed(hpc: Mounted) -> None:
    hpc.migration.guest_list = [GuestHere(10, 2, 10, 1000)]
    hpc.migration.gate.clear()
    for how in (signal.SIGINT, signal.SIGKILL):
        hpc.migration.started.clear()
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import os, sys; os.write(os.open(sys.argv[1], os.O_WRONLY), b'1')",
            str(hpc.path / "admin/expel"), stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(WAIT_S):
            await hpc.migration.started.wait()
            writer.send_signal(how)
            assert await writer.wait() != 0
        assert await hpc.read("admin/block") == "1\n"
    hpc.migration.gate.set()


async def test_a_mount_left_by_a_killed_daemon_is_taken_away(hpc: Mounted) -> None:
    base = hpc.path.parent / "second"
    base.mkdir()
    dead = base / "hpc"
    dead.mkdir()
    for _ in range(2):
        fd = open_device()
        mount_fuse(fd, dead, fsname="hpc", subtype="hpc")
        os.close(fd)
    assert (await hpc.sh(f"ls {dead}"))[0] != 0
    ready = asyncio.Event()
    again = asyncio.create_task(serve_hpc(dead, hpc.service, "v", ready))
    try:
        async with asyncio.timeout(WAIT_S):
            await ready.wait()
        assert await hpc.sh(f"cat {dead}/admin/version") == (0, "v\n")
    finally:
        again.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await again
    assert not detach(dead)


async def test_someone_else_unmounting_ends_only_the_tree(hpc: Mounted) -> None:
    base = hpc.path.parent / "third"
    ready = asyncio.Event()
    serving = asyncio.create_task(serve_hpc(base, hpc.service, "v", ready))
    async with asyncio.timeout(WAIT_S):
        await ready.wait()
        assert (await hpc.sh(f"cat {base}/admin/version"))[0] == 0
        assert detach(base)
        await serving
