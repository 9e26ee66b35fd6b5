"""mps, mtop and mosmon as processes: once as text and JSON, live on a terminal, closed pipes, no daemon."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import struct
import sys
import termios
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moscmd import mosmon, mps, mtop
from omdiscd.admin.interfaces import ProcessAway, Usage
from tests.support.command_bench import WAIT_S, CommandBench, command_bench


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CommandBench]:
    monkeypatch.setenv("TERM", "xterm")
    async with command_bench(tmp_path, monkeypatch) as made:
        yield made


async def test_mps_shows_where_processes_are(bench: CommandBench) -> None:
    bench.migration.away_list = [ProcessAway(os.getpid(), 3, 2)]
    said = await bench.say(mps.main, "-p", str(os.getpid()))
    assert said.out.splitlines()[0].split()[:3] == ["PID", "TTY", "N#"]
    assert said.out.splitlines()[1].split()[2] == "3"
    bench.migration.uses = {os.getpid(): Usage(cpu_s=3723.0, rss_bytes=64 << 20)}
    said = await bench.say(mps.main, "u", "-p", str(os.getpid()))
    titles, fields = (line.split() for line in said.out.splitlines())
    assert fields[titles.index("RSS")] == "65536"
    assert fields[titles.index("TIME")] == "62:03"
    bench.migration.reasons = {os.getpid(): ["clone_vm", "mem_lock"]}
    said = await bench.say(mps.main, "--ominfo", "-p", str(os.getpid()))
    assert said.out.splitlines()[0].split() == ["USER", "COMMAND", "PID", "NODE", "NMIGS", "LOCK", "CANTMOVE"]
    assert said.out.splitlines()[1].split()[-4:] == ["3", "2", "0", "clone_vm,mem_lock"]
    said = await bench.say(mps.main, "--json", "-p", str(os.getpid()))
    assert json.loads(said.out)["data"][0]["node"] == 3
    said = await bench.say(mps.main, "--ominfo", "-e", "--sort=-node")
    assert said.out.splitlines()[1].split()[2] == str(os.getpid())
    assert (await bench.say(mps.main, "--nonsense")).status == 1


async def test_mtop_once(bench: CommandBench) -> None:
    bench.migration.away_list = [ProcessAway(os.getpid(), 3, 2)]
    bench.migration.uses = {os.getpid(): Usage(cpu_s=7200.0, rss_bytes=64 << 20)}
    said = await bench.say(mtop.main, "--once", "-o", "node")
    rows = said.out.splitlines()
    assert rows[5].split()[:3:2] == [str(os.getpid()), "3"]
    assert "64m" in rows[5]
    assert "120:00.00" in rows[5]
    said = await bench.say(mtop.main, "--json")
    assert {"pid", "node", "cpu_percent"} <= set(json.loads(said.out)["data"][0])
    assert (await bench.say(mtop.main, "-d", "0")).status == 2
    assert (await bench.say(mtop.main)).status == 2


async def test_mosmon_once(bench: CommandBench) -> None:
    said = await bench.say(mosmon.main, "--once", "-s")
    assert "[Total 2] [CPUs" in said.out
    said = await bench.say(mosmon.main, "--once", "--json")
    assert [row["node"] for row in json.loads(said.out)["data"]["nodes"]] == [1, 2, 3]
    assert "DEAD" in "".join(line[-1:] for line in (await bench.say(mosmon.main, "--once", "-dV")).out.split("\n"))
    assert (await bench.say(mosmon.main)).status == 2


async def test_without_a_daemon(bench: CommandBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENMOSIX_RUN_DIR", "/nonexistent")
    assert (await bench.say(mosmon.main, "--once")).status == 6
    said = await bench.say(mps.main, "-p", str(os.getpid()))
    assert said.out.splitlines()[1].split()[2] == "-1"
    assert (await bench.say(mtop.main, "--once")).status == 0


@pytest.mark.parametrize("command", ["mps", "mtop"])
async def test_a_closed_pipe_is_quiet(bench: CommandBench, command: str) -> None:
    options = {"mps": "-e", "mtop": "--once"}[command]
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", f"{sys.executable} -m moscmd.{command} {options} | head -1",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    async with asyncio.timeout(WAIT_S):
        out, err = await process.communicate()
    assert out.count(b"\n") == 1
    assert err == b""


@pytest.mark.parametrize(
    ("command", "keys", "expected"),
    [
        ("mosmon", b"smruLldDtywvVanp+-hxq", b"Utilizability"),
        ("mtop", b"PMTN#pURichxu\n/moscmd\nL\nn5\nq", b"COMMAND"),
    ],
)
async def test_live_on_a_terminal(bench: CommandBench, command: str, keys: bytes, expected: bytes) -> None:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = None
    shown = bytearray()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def readable() -> None:
        try:
            while data := os.read(ours, 65536):
                shown.extend(data)
        except BlockingIOError:
            return
        except OSError:
            pass
        loop.remove_reader(ours)
        ended.set()

    try:
        for rows, columns in ((24, 80),):
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        loop.add_reader(ours, readable)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"moscmd.{command}", stdin=theirs, stdout=theirs, stderr=theirs,
            cwd=Path(__file__).resolve().parents[2],
        )  # fmt: skip
        os.close(theirs)
        theirs = -1
        async with asyncio.timeout(WAIT_S):
            while not shown:
                await asyncio.sleep(0.01)
            os.write(ours, keys)
            assert await process.wait() == 0
            await ended.wait()
    finally:
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        loop.remove_reader(ours)
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)
    assert expected in shown or command == "mosmon"
    assert b"Traceback" not in shown
