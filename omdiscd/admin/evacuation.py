"""Emptying a node: expel all guests, bring all own processes home, drain.

Owns what `expel`, `bring` and `drain` do and report. Moves belong to the service, not to the one who asked:
somebody who stops waiting stops new moves from being started, and never cuts one off in the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from omdiscd.admin.interfaces import MigrationControl, Progress
from omprotocol.errors import EXIT_FAILED, MosixError

MOVES_AT_ONCE = 4
PASSES = 3
"""A guest may arrive or fail while others leave; after so many passes the rest is reported."""
GONE_S = 10.0
LOOK_S = 0.05


async def nobody_listens(_body: dict[str, Any]) -> None:
    """Progress for nobody."""


class Evacuation:
    """Moves many processes at once. `spawn` starts a task that the daemon's task group owns."""

    def __init__(
        self,
        migration: MigrationControl,
        spawn: Callable[[Awaitable[None]], asyncio.Task[None]],
    ) -> None:
        self._migration = migration
        self._spawn = spawn
        self._places = asyncio.Semaphore(MOVES_AT_ONCE)

    async def expel(self, progress: Progress = nobody_listens) -> int:
        """Send every guest away; returns how many left. Raises MosixError that names those who did not."""
        return await self._empty(
            lambda: [guest.pid for guest in self._migration.guests()],
            lambda pid: self._migration.send_guest(pid, "home"),
            "guest",
            progress,
        )

    async def bring(self, progress: Progress = nobody_listens) -> int:
        """Bring every own process home; returns how many came. Raises MosixError that names the others."""

        async def home(pid: int) -> None:
            await self._migration.move(pid, "home", nobody_listens)

        return await self._empty(lambda: [process.pid for process in self._migration.away()], home, "process", progress)

    async def _empty(
        self,
        remaining: Callable[[], list[int]],
        move: Callable[[int], Awaitable[None]],
        kind: str,
        progress: Progress,
    ) -> int:
        moved: set[int] = set()
        failures: dict[int, str] = {}

        def staying() -> list[int]:
            return [pid for pid in remaining() if pid not in moved]

        async def one(pid: int, total: int) -> None:
            async with self._places:
                outcome: list[MosixError] = []
                await asyncio.shield(self._spawn(_keep_error(move(pid), outcome)))
            if outcome:
                failures[pid] = outcome[0].message
            else:
                moved.add(pid)
            await progress({"phase": "moving", "done": len(moved), "total": total, "failed": len(failures)})

        for _ in range(PASSES):
            pids = staying()
            if not pids:
                break
            failures.clear()
            try:
                async with asyncio.TaskGroup() as waiters:
                    for pid in pids:
                        waiters.create_task(one(pid, len(moved) + len(pids)))
            except ExceptionGroup as stopped:
                raise stopped.exceptions[0] from None
        await _until(lambda: not moved.intersection(remaining()), GONE_S)
        left = remaining()
        if left:
            first = left[0]
            why = failures.get(first, "it has moved but is still here" if first in moved else "it came meanwhile")
            raise MosixError(
                "not-emptied",
                f"{len(left)} {kind}(s) could not be moved and go on where they are; {first}: {why}",
                EXIT_FAILED,
            )
        return len(moved)


async def _until(is_so: Callable[[], bool], deadline_s: float) -> None:
    # The other node says that a process has moved a moment before its last trace here is gone.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(deadline_s):
            while not is_so():
                await asyncio.sleep(LOOK_S)


async def _keep_error(move: Awaitable[None], outcome: list[MosixError]) -> None:
    try:
        await move
    except MosixError as error:
        outcome.append(error)
