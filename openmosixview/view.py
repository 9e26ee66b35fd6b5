"""One running view: its client, its live facts, its moves and runs, and the tasks that serve them.

Owns the lifetime of everything behind the pages, and the last action's outcome for the status bar.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omprotocol.paths import Paths
from openmosixview.collector.control import CollectorControl
from openmosixview.control_client import ControlClient
from openmosixview.live import Live
from openmosixview.moves import Moves
from openmosixview.process_rows import ProcessLook
from openmosixview.runs import Run, Runs
from openmosixview.sessions import Sessions
from openmosixview.user import User, current_user

COLLECTOR_PERIOD_S = 2.0


@dataclass
class View:
    """What the handlers share. `start` and `stop` belong to one task."""

    paths: Paths
    collector_dir: Path
    user: User = field(default_factory=current_user)
    mosrun: list[str] | None = None
    period_s: float = 1.0

    def __post_init__(self) -> None:
        self.client = ControlClient(self.paths.control_socket)
        self.sessions = Sessions(time.monotonic)
        self.live = Live(self.client, self.period_s)
        self.look = ProcessLook()
        self.looking = asyncio.Lock()
        self.collector = CollectorControl(self.collector_dir)
        self.moves = Moves(self.client, self.live, self._spawn, self._move_ended)
        self.runs = Runs(self._spawn, self._run_ended, self.mosrun)
        self._tasks: asyncio.TaskGroup | None = None
        self._running: asyncio.Task[None] | None = None
        self.live.tell("user", {"name": self.user.name, "is_admin": self.user.is_admin, "why_not": self.user.why_not})
        self.live.tell("collector", self.collector.state())

    def said(self, text: str, ok: bool = True) -> None:
        """Tell all status bars what was done and how it ended."""
        self.live.tell("said", {"text": text[:300], "ok": ok, "at": round(time.time(), 3)})

    async def start(self) -> None:
        """Begin to serve; returns when tasks can be spawned."""
        ready = asyncio.Event()
        self._running = asyncio.create_task(self._run(ready))
        await ready.wait()

    async def stop(self) -> None:
        """End all tasks and the programs they watch."""
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    async def _run(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self.live.run(), name="live")
            tasks.create_task(self._follow_collector(), name="collector state")
            ready.set()

    async def _follow_collector(self) -> None:
        while True:
            await self.live.watched()
            self.live.tell("collector", await asyncio.to_thread(self.collector.state))
            await asyncio.sleep(COLLECTOR_PERIOD_S)

    def _spawn(self, work: Awaitable[None]) -> None:
        if self._tasks is None:
            raise RuntimeError("the view is not running")

        async def owned() -> None:
            await work

        self._tasks.create_task(owned())

    def _move_ended(self, move: dict[str, Any]) -> None:
        self.said(move["message"], ok=move["state"] == "done")

    def _run_ended(self, run: Run) -> None:
        if run.message:
            self.said(f"{run.command}: {run.message}", ok=False)
        elif run.status is not None and run.status < 0:
            self.said(f"{run.command}: ended by signal {-run.status}", ok=False)
        else:
            self.said(f"{run.command}: ended with status {run.status}", ok=run.status == 0)
