"""What the processes away from here get on their hosts, asked of their shims every few seconds.

Asks a bounded number at a time and never longer than a shim's own deadline; what does not answer is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from balancer.events import AwaySample
from omdiscd.admin.interfaces import MigrationControl, ProcessAway

EVERY_S = 3.0
MAX_ASKED = 64
"""Processes away that are asked in one round; more take turns."""
MAX_AT_ONCE = 8


class AwayWatch:
    """`run` asks; `samples` are the last answers of those that are still away, for every tick.

    While `is_short` says that this node itself gets less CPU than it should, waiting elsewhere is not held against
    the host.
    """

    def __init__(self, migration: MigrationControl, is_short: Callable[[], bool] = lambda: False) -> None:
        self._migration = migration
        self._is_short = is_short
        self._known: dict[int, AwaySample] = {}
        self._forgiven: dict[int, float] = {}
        self._from = 0

    def samples(self) -> tuple[AwaySample, ...]:
        """One sample per process away whose host is known to be the one that was asked."""
        there = {entry.pid: entry.node for entry in self._migration.away()}
        self._known = {pid: known for pid, known in self._known.items() if there.get(pid) == known.node}
        self._forgiven = {pid: delay for pid, delay in self._forgiven.items() if pid in self._known}
        return tuple(self._known.values())

    async def run(self) -> None:
        """Ask, wait, until cancelled."""
        while True:
            await self.ask()
            await asyncio.sleep(EVERY_S)

    async def ask(self) -> None:
        """One round.  A shim that does not answer costs its deadline, not more."""
        away = sorted(self._migration.away(), key=lambda entry: (entry.pid <= self._from, entry.pid))[:MAX_ASKED]
        if not away:
            return
        self._from = away[-1].pid
        turns = asyncio.Semaphore(MAX_AT_ONCE)
        async with asyncio.TaskGroup() as asking:
            for entry in away:
                asking.create_task(self._ask_one(entry, turns), name=f"usage of {entry.pid}")

    async def _ask_one(self, entry: ProcessAway, turns: asyncio.Semaphore) -> None:
        async with turns:
            usage = await self._migration.usage(entry.pid)
        if usage is None:
            return
        before = self._known.get(entry.pid)
        forgiven = self._forgiven.get(entry.pid, 0.0) if before is not None and before.node == entry.node else 0.0
        delay_s = usage.run_delay_s - forgiven
        if self._is_short() and before is not None and before.node == entry.node:
            forgiven += max(0.0, delay_s - before.run_delay_s)
            delay_s = min(delay_s, before.run_delay_s)
        self._forgiven[entry.pid] = forgiven
        self._known[entry.pid] = AwaySample(entry.pid, entry.node, usage.cpu_s, delay_s)
