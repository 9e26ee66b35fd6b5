"""The migration service of a node's daemon: starts shims, finds them again, and answers about processes.

Owns no move itself: each is done by the process's home shim, which outlives the daemon.  What is known here
(who is away, who is a guest) is found again at every start in the run directory and the journal.  Runs in the
daemon's loop; what blocks (recovery) runs in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from migrated.core.ledger import Recovery, recovery
from migrated.journal import Journal, Record
from migrated.known import Away, Guest, read_guests
from migrated.processes import Shims
from migrated.recovery import recover
from migrated.shim.fate import Fate, ask_node
from migrated.shim.guest_main import NEVER_RAN, RAN
from migrated.shim.guest_spec import GuestSpec
from migrated.shim.home_state import Destination, HomeSpec
from migrated.survey.facts import ProcessFacts, ProcessVanished, boot_id, read_facts
from migrated.survey.survey import survey
from omprotocol.certificates import Identity
from omprotocol.errors import EXIT_NOT_FOUND, MosixError
from omprotocol.paths import Paths

_log = logging.getLogger(__name__)
MAX_GUESTS = 1024
"""Guests on one node at once; an offer beyond that is refused."""
MAX_AWAY = 4096
STATUS_TIMEOUT_S = 5.0
_LINE_BYTES = 1 << 20
Progress = Callable[[dict[str, Any]], Awaitable[None]]


class Node(Protocol):
    """What the service needs of its daemon."""

    @property
    def number(self) -> int:
        """Own node number."""

    @property
    def address(self) -> str:
        """Own address in the cluster."""

    @property
    def peer_port(self) -> int:
        """The port of every node's daemon."""

    @property
    def paths(self) -> Paths:
        """Where this node keeps its files."""

    @property
    def identity(self) -> Identity:
        """This node's certificate."""

    def address_of(self, node: int) -> str:
        """The address of a live node.  Raises MosixError when it is unknown or down."""


class MigrationService:
    """One per daemon."""

    def __init__(self, node: Node, veto: Callable[[dict[str, Any]], str | None]) -> None:
        self._node = node
        self._veto = veto
        self._journal = Journal(node.paths.journal_dir)
        self._shims = Shims()
        self._away: dict[int, Away] = {}
        self._moves: dict[tuple[int, int], int] = {}
        self._starting: set[int] = set()
        self._recoveries: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Find what an earlier daemon left, then stand by until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._recoveries = group
                for record in self._journal.records():
                    await self._adopt(record)
                self._sweep_guests()
                await asyncio.Event().wait()
        finally:
            self._recoveries = None
            self._shims.close()

    def away(self) -> list[Away]:
        """Processes of this node that run elsewhere, by PID."""
        return [entry for _, entry in sorted(self._away.items()) if entry.node not in (0, self._node.number)]

    def guests(self) -> list[Guest]:
        """Processes of other nodes that run here."""
        return read_guests(self._node.paths.run_dir)

    def moves(self, pid: int) -> int:
        """How often this process has moved since it started."""
        with contextlib.suppress(ProcessVanished):
            return self._moves.get((pid, read_facts(pid).start_ticks), 0)
        return 0

    def reasons(self, pid: int) -> list[str]:
        """Why this process cannot move; empty when it can.  Raises ProcessVanished."""
        return [] if pid in self._away else survey(pid).reasons

    async def move(self, pid: int, to: int, progress: Progress) -> dict[str, Any]:
        """Move a process of this node to node `to` (its own number: home).  Returns the report.

        Raises MosixError; the message says where the process is now.
        """
        facts = read_facts(pid)
        going_home = to == self._node.number
        if going_home and pid not in self._away:
            return {"pid": pid, "origin": to, "target": to, "already": True}
        address = self._node.address if going_home else self._node.address_of(to)
        destination = Destination(node=to, address=address, port=self._node.peer_port)
        if going_home:
            request = {"op": "home", "destination": msgspec.to_builtins(destination)}
            return await self._ask_shim(pid, facts, request, progress, to)
        if pid not in self._away:
            found = survey(pid)
            if found.reasons:
                text = f"Process #{pid} is unmovable: {', '.join(found.reasons)}."
                raise MosixError("unmovable", text, 255)
            await self._start_home_shim(pid, facts)
        elif self._away[pid].node == to:
            return {"pid": pid, "origin": to, "target": to, "already": True}
        request = {"op": "move", "destination": msgspec.to_builtins(destination)}
        return await self._ask_shim(pid, facts, request, progress, to)

    async def status(self, pid: int) -> dict[str, Any]:
        """What the shim of a process away says of it.  Raises MosixError."""
        async with asyncio.timeout(STATUS_TIMEOUT_S):
            return await self._request(pid, {"op": "status"}, _nobody)

    async def accept_guest(self, home: int, offer: dict[str, Any]) -> dict[str, Any]:
        """Start a guest shim for the process that node `home` offers; returns its ports.  Raises MosixError."""
        refusal = self._veto(offer)
        if refusal is not None:
            raise MosixError("blocked", refusal, 255)
        if len(self.guests()) >= MAX_GUESTS:
            raise MosixError("full", f"Node {self._node.number} has {MAX_GUESTS} guests and takes no more.", 255)
        paths = self._node.paths
        own = {
            "home": home,
            "node": self._node.number,
            "address": self._node.address,
            "run_dir": str(paths.run_dir),
            "state_dir": str(paths.state_dir),
            "etc_dir": str(paths.etc_dir),
        }
        try:
            spec = msgspec.convert({**offer, **own}, GuestSpec)
        except msgspec.ValidationError as error:
            raise MosixError("bad-request", f"The offer is not one: {error}.", 255) from None
        if (
            not spec.migration_id.isalnum()
            or spec.root not in ("mfs", "local")
            or (spec.root == "local") != (home == own["node"])
        ):
            raise MosixError("bad-request", "The offer is not one.", 255)
        directory = paths.run_dir / "guests" / spec.migration_id
        line = await self._shims.start("guest", msgspec.json.encode(spec), lambda: self._guest_ended(directory))
        ports: dict[str, Any] = json.loads(line)
        return ports

    def fate(self, migration_id: str) -> str:
        """What became of a migration to this node: never-ran, ran, or pending while it may still begin."""
        if not migration_id.isalnum():
            return RAN
        directory = self._node.paths.run_dir / "guests" / migration_id
        with contextlib.suppress(OSError):
            return directory.with_suffix(".fate").read_text()
        if (directory / "ran").exists():
            return RAN
        return "pending" if directory.exists() else NEVER_RAN

    async def _start_home_shim(self, pid: int, facts: ProcessFacts) -> None:
        if pid in self._starting or len(self._away) + len(self._starting) >= MAX_AWAY:
            raise MosixError("busy", "Process was already sent elsewhere.", 255)
        self._starting.add(pid)
        paths = self._node.paths
        spec = HomeSpec(
            pid=pid,
            start_ticks=facts.start_ticks,
            node=self._node.number,
            run_dir=str(paths.run_dir),
            state_dir=str(paths.state_dir),
            etc_dir=str(paths.etc_dir),
        )
        try:
            await self._shims.start("home", msgspec.json.encode(spec), lambda: self._shim_ended(pid))
            self._away[pid] = Away(pid=pid, start_ticks=facts.start_ticks, node=0, uid=facts.uid, moves=0)
        finally:
            self._starting.discard(pid)

    async def _ask_shim(
        self, pid: int, facts: ProcessFacts, request: dict[str, Any], progress: Progress, to: int
    ) -> dict[str, Any]:
        report = await self._request(pid, request, progress)
        key = (pid, facts.start_ticks)
        self._moves[key] = self._moves.get(key, 0) + 1
        if report["in_place"] and to == self._node.number:
            self._away.pop(pid, None)
        else:
            self._away[pid] = Away(
                pid=pid, start_ticks=facts.start_ticks, node=to, uid=facts.uid, moves=self._moves[key]
            )
        return report

    async def _request(self, pid: int, request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        path = self._node.paths.run_dir / "away" / str(pid) / "control"
        try:
            reader, writer = await asyncio.open_unix_connection(path, limit=_LINE_BYTES)
        except OSError:
            raise MosixError("no-such-process", f"No such process ({pid}).", 255) from None
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            while line := await reader.readline():
                answer = json.loads(line)
                if "progress" in answer:
                    await progress(answer["progress"])
                elif answer.get("ok") is True:
                    result: dict[str, Any] = answer["result"]
                    return result
                else:
                    raise MosixError.from_wire(answer.get("error"))
        finally:
            writer.close()
        raise MosixError("shim-lost", f"The move of process {pid} was cut off; the journal says where it is.", 255)

    def _shim_ended(self, pid: int) -> None:
        self._away.pop(pid, None)
        record = self._journal.read(pid)
        if record is not None and self._recoveries is not None:
            self._recoveries.create_task(self._recover(record), name=f"recover {pid}")

    def _guest_ended(self, directory: Path) -> None:
        _forget_guest(directory)

    async def _adopt(self, record: Record) -> None:
        """Take over a process that an earlier daemon left away; recover it when its shim is gone."""
        try:
            status = await self.status(record.pid)
        except (MosixError, TimeoutError, OSError, ValueError):
            await self._recover(record)
            return
        self._away[record.pid] = Away(
            pid=record.pid,
            start_ticks=record.start_ticks,
            node=int(status["node"]),
            uid=record.uid,
            moves=int(status["moves"]),
        )
        self._moves[(record.pid, record.start_ticks)] = int(status["moves"])
        self._shims.watch(int(status["shim_pid"]), lambda: self._shim_ended(record.pid))
        _log.info("process.adopted", extra={"pid": record.pid, "node": status["node"]})

    async def _recover(self, record: Record) -> None:
        never_ran = False
        if record.boot_id == boot_id() and recovery(record.state) is Recovery.ASK_GUEST:
            port = self._node.peer_port
            fate = await ask_node(self._node.identity, record.address, port, record.node, record.migration_id)
            never_ran = fate is Fate.NEVER_RAN
        await asyncio.to_thread(recover, record, self._journal, never_ran)

    def _sweep_guests(self) -> None:
        """Directories of guest shims that are gone."""
        for path in (self._node.paths.run_dir / "guests").glob("*/guest.json"):
            guest = next((entry for entry in self.guests() if entry.migration_id == path.parent.name), None)
            if guest is None:
                _forget_guest(path.parent)
            else:
                self._shims.watch(guest.shim_pid, functools.partial(_forget_guest, path.parent))


def find_process(pid: object) -> ProcessFacts:
    """The process a user names.  Raises MosixError when there is none."""
    if not isinstance(pid, int) or isinstance(pid, bool) or not 0 < pid < 1 << 22:
        raise MosixError("no-such-process", f"No such process ({pid}).", 255)
    return read_facts(pid)


def find_node(text: object) -> int:
    """The node a user names, 1-65535.  Raises MosixError."""
    if not isinstance(text, int) or isinstance(text, bool) or not 0 < text < 65536:
        raise MosixError(
            "bad-node", f"Improper node number {text}: nodes have numbers from 1 to 65535.", EXIT_NOT_FOUND
        )
    return text


def _forget_guest(directory: Path) -> None:
    if directory.exists():
        directory.with_suffix(".fate").write_text(RAN if (directory / "ran").exists() else NEVER_RAN)
        shutil.rmtree(directory, ignore_errors=True)


async def _nobody(_body: dict[str, Any]) -> None:
    return None
