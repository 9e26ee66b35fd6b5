"""Commands against the real control server and administration, with a cluster and migration in memory.

Owns the set-up only: commands run in a thread of this process, so that hundreds of invocations stay quick.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from omdiscd.admin.service import AdminService
from omdiscd.admin.verbs import AdminVerbs
from omdiscd.control.registry import Registry
from omdiscd.control.server import ControlServer
from omdiscd.io.peer_server import PeerRegistry
from tests.support.fake_cluster import FakeCluster, FakeMigration

WAIT_S = 60


@dataclass
class Outcome:
    """How a command ended."""

    status: int
    out: str
    err: str


@dataclass
class CommandBench:
    """A node to say things to."""

    run_dir: Path
    state_dir: Path
    cluster: FakeCluster
    migration: FakeMigration = field(default_factory=FakeMigration)
    registry: Registry = field(default_factory=Registry)

    def __post_init__(self) -> None:
        self.service = AdminService(self.state_dir, self.cluster, self.migration, speed=9967)
        AdminVerbs(self.service).register(self.registry, PeerRegistry())

    async def say(self, main: Callable[[Sequence[str]], int], *words: str) -> Outcome:
        """Run a command's main with these arguments."""

        def captured() -> Outcome:
            out, err = _Text(), _Text()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = main(list(words))
            return Outcome(status, out.getvalue(), err.getvalue())

        async with asyncio.timeout(WAIT_S):
            return await asyncio.to_thread(captured)


class _Text(StringIO):
    def fileno(self) -> int:
        raise OSError("not a file")


async def answer_facts(_verb: str, _args: Mapping[str, Any]) -> dict[str, Any]:
    """Another node's answer."""
    return {
        "load": 50, "speed": 15000, "cpus": 2, "util": 200, "mem": 10, "rmem": 5, "tmem": 20, "status": 11,
    }  # fmt: skip


@contextlib.asynccontextmanager
async def command_bench(base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CommandBench]:
    """A served node 1 whose neighbour 2 answers and whose neighbour 3 is silent."""
    run_dir, state_dir = base / "run", base / "state"
    run_dir.mkdir()
    state_dir.mkdir()
    monkeypatch.setenv("OPENMOSIX_RUN_DIR", str(run_dir))
    monkeypatch.setenv("OPENMOSIX_STATE_DIR", str(state_dir))
    monkeypatch.setenv("OPENMOSIX_ETC_DIR", str(base / "etc"))
    bench = CommandBench(run_dir, state_dir, FakeCluster(1, {2: answer_facts, 3: None}))
    control, admin = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ControlServer(run_dir / "control", bench.registry).run(control))
            tasks.create_task(bench.service.run(admin))

    serving = asyncio.create_task(serve())
    try:
        async with asyncio.timeout(WAIT_S):
            await control.wait()
            await admin.wait()
        yield bench
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
