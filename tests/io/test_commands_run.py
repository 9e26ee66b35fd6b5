"""migrate, mosrun and the wrapper scripts as processes of their own, against the real control server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moscmd import migrate
from omdiscd.control.registry import Caller
from omprotocol.errors import MosixError
from tests.support.command_bench import WAIT_S, CommandBench, command_bench

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CommandBench]:
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    mosrun = bin_dir / "mosrun"
    root = SCRIPTS.parent
    mosrun.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
        "from moscmd.mosrun import main\nsys.exit(main())\n"
    )
    mosrun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}:{SCRIPTS}:{os.environ['PATH']}")
    async with command_bench(tmp_path, monkeypatch) as made:
        yield made


async def sh(script: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(WAIT_S):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def rules_of_a_job(bench: CommandBench, start: str) -> dict[str, Any]:
    """Settings of a job that `start` runs, looked at while it runs."""
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", f"exec {start} sh -c 'echo started; exec cat'",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    try:
        async with asyncio.timeout(WAIT_S):
            assert await process.stdout.readline() == b"started\n"
        return bench.service.processes.facts(process.pid)
    finally:
        process.stdin.close()
        async with asyncio.timeout(WAIT_S):
            await process.wait()


async def test_the_status_is_the_programs(bench: CommandBench) -> None:
    assert await sh("mosrun sh -c 'echo out; exit 7'") == (7, "out\n")
    assert (await sh("mosrun -l sh -c 'kill -9 $$'; echo $?"))[1].splitlines()[-1] == "137"
    assert await sh("mosrun -z sh called -c 'echo $0'") == (0, "called\n")
    assert await sh("mosrun -l sh -c 'yes | head -1'") == (0, "y\n")


async def test_own_faults_are_125_to_127(bench: CommandBench) -> None:
    for words, status in (("-3 -h true", 125), ("-9 true", 125), ("no-such-program", 127), ("/", 126), ("-l", 125)):
        ended, said = await sh(f"mosrun {words}")
        assert ended == status, said
        assert said.count("\n") == 1


async def test_without_a_daemon_the_program_just_runs(bench: CommandBench) -> None:
    assert await sh("OPENMOSIX_RUN_DIR=/nonexistent mosrun -3 -c echo ran") == (0, "ran\n")


async def test_settings_reach_the_program_and_its_children(bench: CommandBench) -> None:
    assert (await rules_of_a_job(bench, "mosrun"))["lock"] is True
    assert (await rules_of_a_job(bench, "mosrun -l -c"))["decay"] == "cpujob"
    own = await rules_of_a_job(bench, "mosrun -n -E")
    assert (own["decay"], own["own_rate"], own["own_interval_s"], own["lock"]) == ("own", 1000, 1, False)
    nested = await rules_of_a_job(bench, "mosrun -L mosrun -k -f")
    assert (nested["lock"], nested["decay"]) == (True, "fast")
    # sh execs cat, which is the second exec after mosrun's own.
    once = await rules_of_a_job(bench, "mosrun -f -e")
    assert once["execonce"] is True or once["decay"] in ("fast", "slow")


async def test_a_named_node_is_used_once_the_program_runs(bench: CommandBench) -> None:
    assert (await rules_of_a_job(bench, "mosrun -2"))["lock"] is True
    process = await asyncio.create_subprocess_exec("mosrun", "-j2-3", "sleep", "600")
    try:
        async with asyncio.timeout(WAIT_S):
            while (process.pid, 2) not in bench.migration.moves:
                await asyncio.sleep(0.01)
    finally:
        process.kill()
        await process.wait()


async def test_a_down_node_is_an_error_unless_forced(bench: CommandBench) -> None:
    status, said = await sh("mosrun -3 echo ran")
    assert status == 125
    assert "Migration Failed: node 3 is down" in said
    assert await sh("mosrun -3 -F echo ran") == (0, "ran\n")
    assert await sh("mosrun -j3,9 -F echo ran") == (0, "ran\n")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("nomig", {"lock": True, "decay": "slow"}), ("runhome", {"lock": True}), ("runon 2", {"lock": True}),
        ("cpujob", {"decay": "cpujob"}), ("iojob", {"decay": "iojob"}), ("nodecay", {"own_rate": 1000}),
        ("slowdecay", {"decay": "slow"}), ("fastdecay", {"decay": "fast"}), ("cpujob -h", {"lock": True}),
    ],
)  # fmt: skip
async def test_scripts(bench: CommandBench, script: str, expected: dict[str, Any]) -> None:
    facts = await rules_of_a_job(bench, script)
    assert {name: facts[name] for name in expected} == expected
    assert await sh(f"{script} sh -c 'exit 3'") == (3, "")
    name = script.split()[0]
    status, said = await sh(name)
    assert status == 125
    assert said.startswith(f"Usage: {name}")


class Moves:
    """Stands for the migration service's verb."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def migrate(self, caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(args)
        await caller.progress({"phase": "memory", "bytes": 4096})
        if args["pid"] == 5:
            raise MosixError("no-such-process", "gone", 4)
        if args["pid"] == 6:
            raise MosixError("unmovable", "Process #6 is unmovable: mem_lock.", 1)
        if args["pid"] == 7:
            raise MosixError("permission", "process 7 belongs to another user.", 3)
        return {"pid": args["pid"], "from": 1, "to": 2, "frozen_ms": 12.5, "bytes": 4096, "total_ms": 40.0}


async def test_migrate(bench: CommandBench) -> None:
    moves = Moves()
    bench.registry.add("migrate", moves.migrate, "owner")
    for words, to in (("4 2", 2), ("4 home", "home"), ("4 H", "home"), ("4 balance", "balance"), ("4 bal", "balance")):
        said = await bench.say(migrate.main, *words.split())
        assert (said.status, said.out, said.err) == (0, "", "")
        assert moves.asked[-1] == {"pid": 4, "to": to}
    said = await bench.say(migrate.main, "4", "2", "--stats")
    assert said.out == "frozen 12.5 ms, 4096 bytes, total 40.0 ms\n"
    said = await bench.say(migrate.main, "--json", "4", "2")
    assert json.loads(said.out)["data"]["frozen_ms"] == 12.5


async def test_migrate_refusals_are_255(bench: CommandBench) -> None:
    bench.registry.add("migrate", Moves().migrate, "owner")
    for pid, text in (
        ("5", "migrate: No such process (5).\n"),
        ("6", "migrate: Process #6 is unmovable: mem_lock.\n"),
        ("7", "migrate: Permission denied. process 7 belongs to another user.\n"),
    ):
        said = await bench.say(migrate.main, pid, "2")
        assert (said.status, said.out, said.err) == (255, "", text)


async def test_migrate_usage(bench: CommandBench) -> None:
    for words in ("", "4", "4 2 3", "0 2", "x 2", "4 0", "4 70000", "4 homer", "4 -1", "4 ''"):
        said = await bench.say(migrate.main, *words.split())
        assert (said.status, said.out) == (1, "Usage: migrate pid {OpenMosix-ID|home|balance}\n"), words
    assert (await bench.say(migrate.main, "--help")).status == 0
    assert (await bench.say(migrate.main, "4", "2", "--nonsense")).status == 2


async def test_migrate_without_a_daemon(bench: CommandBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENMOSIX_RUN_DIR", "/nonexistent")
    said = await bench.say(migrate.main, "4", "2")
    assert said.status == 6
    assert said.err.startswith("migrate: migrate ignored:")
