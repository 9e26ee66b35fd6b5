"""The home shim: one process per process away, which outlives the daemon.

Serves requests of the daemon on a socket of its own under the run directory (one JSON object per line; progress
lines, then one result), does one move at a time, and looks after the process while its body is away.  Ends when
the process is home again or has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any

import msgspec

from migrated.core.ledger import State
from migrated.shim.away_life import AwayLife
from migrated.shim.conversation import Conversation
from migrated.shim.departure import depart
from migrated.shim.home_state import Destination, HomeState, MoveReport, Residence
from migrated.shim.homecoming import Fed, NotInPlace, come_home, feed
from migrated.shim.onward import move_on
from migrated.shim.residence import clear_directory, close_residence
from omprotocol.errors import MosixError

_log = logging.getLogger(__name__)
IDLE_S = 20.0
_REQUEST_BYTES = 65536
_FAREWELL_S = 5.0


class HomeShim:
    """Composes the steps of a journey around one HomeState."""

    def __init__(self, shim: HomeState) -> None:
        self._shim = shim
        self._busy = asyncio.Lock()
        self._life = AwayLife(shim)
        self._conversation: Conversation | None = None
        self._fed: list[Fed] = []
        self._requests = 0
        self._over = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._clients: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}
        self._lives: asyncio.Task[None] | None = None

    async def run(self, on_ready: Path) -> None:
        """Serve until the process needs no shim any more.  `on_ready`: the path of the request socket."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            server = await asyncio.start_unix_server(self._serve, on_ready, limit=_REQUEST_BYTES)
            on_ready.chmod(0o600)
            idle = tasks.create_task(self._end_when_idle(), name="idle")
            try:
                await self._over.wait()
            finally:
                server.close()
                on_ready.unlink(missing_ok=True)
                idle.cancel()
            await self._farewell()
            for writer in self._clients.values():
                writer.close()
            if clients := [client for client in self._clients if client is not None]:
                await asyncio.wait(clients, timeout=_FAREWELL_S)

    async def _farewell(self) -> None:
        # First what another shim of the same process needs: this one may still have a pipe to feed for long.
        with contextlib.suppress(OSError):
            self._shim.journal.remove(self._shim.pid)
        clear_directory(self._shim.work_dir / "images")
        self._shim.claim.release()
        with contextlib.suppress(OSError):
            self._shim.work_dir.rmdir()
        residence = self._shim.residence
        if residence is not None:
            await residence.link.finish(_FAREWELL_S)
            close_residence(residence)
        self._shim.relays.close()
        if self._shim.channel is not None:
            self._shim.channel.close()
        for fed in self._fed:
            await feed(fed)

    async def _end_when_idle(self) -> None:
        """A shim that nobody gives a move must not stay."""
        while True:
            seen = self._requests
            await asyncio.sleep(IDLE_S)
            if self._shim.state is State.LOCAL and seen == self._requests and not self._busy.locked():
                self._over.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client: asyncio.Task[None] | None = asyncio.current_task()
        self._clients[client] = writer
        try:
            while line := await reader.readline():
                self._requests += 1
                await self._answer(json.loads(line), writer)
        except (ValueError, OSError):
            pass  # the daemon went away, or it was not the daemon
        finally:
            del self._clients[client]
            writer.close()

    async def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        async def progress(body: dict[str, Any]) -> None:
            with contextlib.suppress(OSError):
                writer.write(json.dumps({"progress": body}).encode() + b"\n")

        try:
            answer: dict[str, Any] = {"ok": True, "result": await self._do(request, progress)}
        except MosixError as error:
            answer = {"ok": False, "error": error.to_wire()}
        except Exception as error:
            _log.exception("shim.request_failed", extra={"pid": self._shim.pid})
            message = f"Moving process {self._shim.pid} failed ({error}); it is {self._whereabouts()}."
            answer = {"ok": False, "error": MosixError("internal", message, 255).to_wire()}
        ended = self._shim.state in (State.LOCAL, State.HOME, State.DEAD)
        over = ended and request.get("op") != "status" and not self._busy.locked()
        if over:
            self._over.set()
        with contextlib.suppress(OSError):
            writer.write(json.dumps(answer | {"over": over}).encode() + b"\n")
            await writer.drain()

    async def _do(self, request: dict[str, Any], progress: Any) -> dict[str, Any]:
        if request.get("op") == "status":
            return self._status()
        if self._busy.locked():
            raise MosixError("busy", "Process was already sent elsewhere.", 255)
        async with self._busy:
            destination = msgspec.convert(request["destination"], Destination)
            self._shim.hints = request.get("hints") or {}
            if request.get("op") == "home":
                return await self._home(destination, progress)
            if request.get("op") == "move":
                return await self._move(destination, progress)
        raise MosixError("bad-request", "The shim knows no such request.")

    async def _move(self, destination: Destination, progress: Any) -> dict[str, Any]:
        if self._shim.state is not State.LOCAL:
            return await self._move_on(destination, progress)
        report = await depart(self._shim, destination, self._converse, progress)
        self._look_after()
        return _as_dict(report)

    async def _move_on(self, destination: Destination, progress: Any, root: str = "mfs") -> dict[str, Any]:
        old = self._away_conversation()
        await self._leave_alone()
        try:
            report = await move_on(self._shim, destination, old, self._converse, progress, root=root)
        except BaseException:
            self._conversation = old
            self._look_after()
            raise
        self._look_after()
        return _as_dict(report)

    async def _home(self, here: Destination, progress: Any) -> dict[str, Any]:
        conversation = self._away_conversation()
        await self._leave_alone()
        try:
            report, self._fed = await come_home(self._shim, conversation, progress)
        except NotInPlace as reasons:
            self._look_after()
            if self._shim.record.node == here.node:
                raise
            _log.info("home.behind_the_deputy", extra={"pid": self._shim.pid, "why": reasons.message})
            return await self._move_on(here, progress, root="local")
        except BaseException:
            self._look_after()
            raise
        return _as_dict(report)

    def _away_conversation(self) -> Conversation:
        if self._shim.state is not State.AWAY or self._conversation is None:
            raise MosixError("at-home", f"Process {self._shim.pid} is at home already.", 255)
        return self._conversation

    def _converse(self, residence: Residence) -> Conversation:
        assert self._tasks is not None
        conversation = Conversation(self._shim, residence.link, self._life.on_body)
        self._tasks.create_task(conversation.run(), name=f"conversation with node {residence.destination.node}")
        self._conversation = conversation
        return conversation

    def _look_after(self) -> None:
        assert self._tasks is not None
        assert self._conversation is not None
        self._lives = self._tasks.create_task(self._live(self._conversation), name="away")

    async def _live(self, conversation: Conversation) -> None:
        await self._life.run(conversation)
        self._over.set()

    async def _leave_alone(self) -> None:
        if self._lives is not None:
            self._lives.cancel()
            await asyncio.wait({self._lives})
            self._lives = None

    def _status(self) -> dict[str, Any]:
        shim = self._shim
        facts = shim.survey.facts if shim.survey is not None else None
        return {
            "pid": shim.pid,
            "state": str(shim.state),
            "node": shim.residence.destination.node if shim.residence is not None else 0,
            "address": shim.residence.destination.address if shim.residence is not None else "",
            "moves": shim.record.moves,
            "uid": shim.record.uid,
            "command": facts.comm if facts is not None else shim.record.command,
            "cpu_s": shim.cpu_s,
            "rss_bytes": shim.rss_bytes,
            "run_delay_s": shim.run_delay_s,
            "shim_pid": os.getpid(),
        }

    def _whereabouts(self) -> str:
        node = self._shim.residence.destination.node if self._shim.residence is not None else 0
        words = {State.AWAY: f"running on node {node}", State.DEAD: "gone"}
        return words.get(self._shim.state, "running at home")


def _as_dict(report: MoveReport) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(report)
    return built
