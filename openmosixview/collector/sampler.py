"""Taking samples: every ten seconds all nodes, every minute the processes of this node.

Owns the rhythm and what happens when the daemon or the disk does not answer: a gap in the history, one line in
the log, and no other consequence.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from typing import Any

from omprotocol.errors import MosixError
from openmosixview.collector.writing import (
    STEPS_S,
    add_moves,
    add_processes,
    add_samples,
    drop_oldest,
    is_at_largest_size,
    thin,
)
from openmosixview.control_client import ControlClient
from openmosixview.core.cluster_figures import cluster_figures
from openmosixview.process_rows import ProcessLook, as_plain

log = logging.getLogger(__name__)

PROCESSES_EVERY = 6
"""Samples of the nodes for each sample of the processes."""
THIN_EVERY = 180
KEPT_FIELDS = ("pid", "user", "node", "nmigs", "state", "nice", "cpu_percent", "rss_bytes", "time_s", "command")


class Sampler:
    """Fills one history. `clock` gives Unix time in seconds."""

    def __init__(
        self, client: ControlClient, connection: sqlite3.Connection, clock: Callable[[], float] = time.time
    ) -> None:
        self.failure = ""
        self._client = client
        self._connection = connection
        self._clock = clock
        self._look = ProcessLook()
        self._away: dict[int, tuple[int, int]] | None = None
        self._count = 0

    async def run(self) -> None:
        """Sample until cancelled, at full multiples of the step."""
        while True:
            await self.sample()
            step = STEPS_S[0]
            await asyncio.sleep(step - self._clock() % step)

    async def sample(self) -> None:
        """One round. What fails is noted in `failure` and in the log; nothing is raised."""
        t = int(self._clock()) // STEPS_S[0] * STEPS_S[0]
        try:
            table = cluster_figures(await self._client.request("node.table"))
            self._write(add_samples, t, table["nodes"])
            await self._moves(t)
            if self._count % PROCESSES_EVERY == 0:
                await self._processes(t)
            if self._count % THIN_EVERY == THIN_EVERY - 1:
                self._write(thin, t)
        except (MosixError, sqlite3.Error, OSError) as error:
            self._failed(str(error))
        else:
            if self.failure:
                log.warning("samples are taken again")
            self.failure = ""
        self._count += 1

    def _write(self, statement: Callable[..., None], *args: Any) -> None:
        try:
            statement(self._connection, *args)
        except sqlite3.OperationalError as error:
            # A full disk is not a full history: nothing is dropped for it.
            is_full = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
            if not is_full or not is_at_largest_size(self._connection) or not drop_oldest(self._connection):
                raise
            statement(self._connection, *args)

    async def _moves(self, t: int) -> None:
        listed = (await self._client.request("away")).get("away", [])
        away = {
            entry["pid"]: (int(entry.get("node", 0)), int(entry.get("moves", 0)))
            for entry in listed
            if isinstance(entry, dict) and isinstance(entry.get("pid"), int)
        }
        if self._away is not None:
            moves = seen_moves(self._away, away)
            if moves:
                names = {pid: self._command(pid) for pid, _, _ in moves}
                self._write(add_moves, t, [(pid, a, b, names[pid]) for pid, a, b in moves if names[pid] or b])
        self._away = away

    def _command(self, pid: int) -> str:
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as name:
                return name.read().strip()
        except OSError:
            return ""

    async def _processes(self, t: int) -> None:
        listed = (await self._client.request("process.list")).get("processes", [])
        places = {row["pid"]: row for row in listed if isinstance(row, dict) and isinstance(row.get("pid"), int)}
        rows = [as_plain(row) for row in self._look.rows(places)]
        self._write(add_processes, t, [{name: row[name] for name in KEPT_FIELDS} for row in rows])

    def _failed(self, why: str) -> None:
        if why != self.failure:
            log.warning("no sample was taken: %s", why)
        self.failure = why


def seen_moves(before: dict[int, tuple[int, int]], now: dict[int, tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Migrations between two lists of processes away, as (pid, from node, to node); 0 is home.

    A process that is no longer away came home or ended: the caller looks which.
    """
    moves = [(pid, before.get(pid, (0, 0))[0], node) for pid, (node, _) in now.items() if before.get(pid) != (node, _)]
    moves += [(pid, node, 0) for pid, (node, _) in before.items() if pid not in now]
    return sorted(moves)
