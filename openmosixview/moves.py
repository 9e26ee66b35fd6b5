"""Moves of processes ordered by pages: running ones with their progress, and how the last ones ended.

Owns the tasks that wait for the daemon. A closed page ends no move.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from omprotocol.errors import MosixError
from openmosixview.control_client import ControlClient
from openmosixview.live import Live

SILENCE_S = 600.0
"""Longest time without a word from the daemon, which has its own deadlines for every step."""
MAX_RUNNING = 64
MAX_ENDED = 20

Spawn = Callable[[Awaitable[None]], None]
Ended = Callable[[dict[str, Any]], None]


class Moves:
    """The moves of one view; `spawn` starts a task the view owns, `ended` hears of every end."""

    def __init__(self, client: ControlClient, live: Live, spawn: Spawn, ended: Ended) -> None:
        self._client = client
        self._live = live
        self._spawn = spawn
        self._ended = ended
        self._serial = itertools.count(1)
        self._moves: dict[int, dict[str, Any]] = {}

    def start(self, pid: int, to: int | str, command: str) -> int:
        """Begin a move and return its number. Raises MosixError when it moves already or too many do."""
        running = [move for move in self._moves.values() if move["state"] == "running"]
        if any(move["pid"] == pid for move in running):
            raise MosixError("busy", f"Process {pid} is being moved already.")
        if len(running) >= MAX_RUNNING:
            raise MosixError("busy", f"{MAX_RUNNING} moves are running: wait until one has ended.")
        number = next(self._serial)
        move: dict[str, Any] = {"id": number, "pid": pid, "to": to, "command": command[:80]}
        self._moves[number] = move | {"state": "running", "phase": "starting", "bytes": 0, "message": ""}
        self._forget_old()
        self._tell()
        self._spawn(self._move(number, pid, to))
        return number

    async def _move(self, number: int, pid: int, to: int | str) -> None:
        move = self._moves[number]

        def progress(body: dict[str, Any]) -> None:
            move["phase"] = str(body.get("phase", move["phase"]))[:40]
            sent = body.get("bytes")
            move["bytes"] = sent if isinstance(sent, int) else move["bytes"]
            self._tell()

        try:
            result = await self._client.request("migrate", {"pid": pid, "to": to}, progress, SILENCE_S)
        except MosixError as error:
            move |= {"state": "failed", "message": error.message}
        else:
            frozen = result.get("frozen_ms")
            note = f", frozen for {frozen:.0f} ms" if isinstance(frozen, int | float) else ""
            where = {"home": "home", "balance": "where the balancer wants it"}.get(str(to), f"to node {to}")
            move |= {"state": "done", "message": f"Process {pid} moved {where}{note}."}
            move |= {"from_node": result.get("from"), "to_node": result.get("to")}
        self._tell()
        self._ended(move)
        self._live.look_now()

    def _forget_old(self) -> None:
        ended = [number for number, move in self._moves.items() if move["state"] != "running"]
        for number in ended[:-MAX_ENDED]:
            del self._moves[number]

    def _tell(self) -> None:
        self._live.tell("moves", list(self._moves.values()))
