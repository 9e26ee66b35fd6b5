"""A cluster and a migration service that live in memory, for tests of administration.

Owns no sockets and no processes: calls to other nodes are answered by functions, moves by lists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from migrated.core.hints import Hints
from omdiscd.admin.interfaces import Destination, GuestHere, ProcessAway, Progress, Usage
from omprotocol.errors import MosixError, PeerUnreachable

PeerAnswer = Callable[[str, Mapping[str, Any]], Awaitable[dict[str, Any]]]


class FakeCluster:
    """Nodes 10.77.0.N; those without an answer function are silent."""

    def __init__(self, own: int = 1, others: Mapping[int, PeerAnswer | None] | None = None) -> None:
        self.own_node = own
        self.others = dict(others or {})
        self.calls: list[tuple[int, str]] = []

    def nodes(self) -> Sequence[tuple[int, str]]:
        return [(node, f"10.77.0.{node}") for node in sorted({self.own_node, *self.others} - {0})]

    def address_of(self, node: int) -> str | None:
        return f"10.77.0.{node}" if node and node in (self.own_node, *self.others) else None

    def is_up(self, node: int) -> bool:
        return node == self.own_node or self.others.get(node) is not None

    async def call(self, node: int, verb: str, args: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        self.calls.append((node, verb))
        answer = self.others.get(node)
        if answer is None:
            raise PeerUnreachable("peer-timeout", f"node {node} did not answer", 5)
        return await answer(verb, args)


class FakeMigration:
    """Guests and processes away as lists; moves take a tick, or wait for `gate`, or fail when told so."""

    def __init__(self) -> None:
        self.guest_list: list[GuestHere] = []
        self.away_list: list[ProcessAway] = []
        self.immovable: dict[int, str] = {}
        self.reasons: dict[int, list[str]] = {}
        self.uses: dict[int, Usage] = {}
        self.moves: list[tuple[int, Destination]] = []
        self.started = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    def guests(self) -> Sequence[GuestHere]:
        return list(self.guest_list)

    def away(self) -> Sequence[ProcessAway]:
        return list(self.away_list)

    def nmigs(self, pid: int) -> int:
        return sum(1 for moved, _ in self.moves if moved == pid)

    def cantmove(self, pid: int) -> Sequence[str]:
        return self.reasons.get(pid, [])

    async def usage(self, pid: int) -> Usage | None:
        return self.uses.get(pid)

    async def move(
        self, pid: int, to: Destination, progress: Progress, hints: Hints | None = None
    ) -> Mapping[str, Any]:
        await self._go(pid, to)
        await progress({"phase": "running"})
        self.away_list = [process for process in self.away_list if process.pid != pid]
        if isinstance(to, int):
            self.away_list.append(ProcessAway(pid, to))
        return {"pid": pid, "from": 1, "to": to, "frozen_ms": 2.0, "bytes": 4096, "total_ms": 5.0}

    async def send_guest(self, pid: int, to: Destination, hints: Hints | None = None) -> None:
        await self._go(pid, to)
        self.guest_list = [guest for guest in self.guest_list if guest.pid != pid]

    async def _go(self, pid: int, to: Destination) -> None:
        self.moves.append((pid, to))
        self.started.set()
        await self.gate.wait()
        await asyncio.sleep(0)
        if pid in self.immovable:
            raise MosixError("unmovable", self.immovable[pid])
