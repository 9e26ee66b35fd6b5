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
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from migrated.core.lease import Terms, certain_after_s
from migrated.core.ledger import Recovery, State, recovery
from migrated.journal import Journal, Record
from migrated.known import Away, Guest, known_guests, read_guests
from migrated.leftovers import forget_guest, sweep_away, sweep_guests
from migrated.processes import Shims
from migrated.recovery import recover
from migrated.shim.claim import is_free
from migrated.shim.fate import Fate, ask_node
from migrated.shim.guest_main import NEVER_RAN, RAN
from migrated.shim.guest_spec import GuestSpec
from migrated.shim.home_state import Destination, HomeSpec
from migrated.shim_client import Progress, ask_shim
from migrated.survey.facts import ProcessFacts, ProcessVanished, boot_id, read_facts
from migrated.survey.survey import survey
from omprotocol.certificates import Identity
from omprotocol.errors import EXIT_NOT_FOUND, MosixError
from omprotocol.paths import Paths

_log = logging.getLogger(__name__)
GUEST_PORTS = (4661, 5427)
"""TCP ports of guests, three each: above openMosix's 4660, below its 5428."""
MAX_GUESTS = 250
"""Guests on one node at once; an offer beyond that is refused."""
MAX_AWAY = 4096
STATUS_TIMEOUT_S = 5.0
_LET_GO_TIMEOUT_S = 5.0
_PUT_RIGHT_TIMEOUT_S = 60.0
_STARTING_S = 60.0
_RETRY_S = 0.5
_POLL_S = 0.01


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

    def __init__(
        self,
        node: Node,
        veto: Callable[[dict[str, Any]], str | None],
        terms: Terms | None = None,
        ports: tuple[int, int] = GUEST_PORTS,
    ) -> None:
        self._node = node
        self._veto = veto
        self._journal = Journal(node.paths.journal_dir)
        self._shims = Shims()
        self._away: dict[int, Away] = {}
        self._moves: dict[tuple[int, int], int] = {}
        self._starting: set[int] = set()
        self._shim_of: dict[int, object] = {}
        self._outcomes: dict[int, str] = {}
        self._righting: set[int] = set()
        self._terms = terms or Terms()
        self._ports = ports
        self._background: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Find what an earlier daemon left, then stand by until cancelled."""
        self._shims.prepare()
        try:
            async with asyncio.TaskGroup() as group:
                self._background = group
                records = self._journal.records()
                answered = await asyncio.gather(*(self._adopt(record) for record in records))
                for record, adopted in zip(records, answered, strict=True):
                    if not adopted:
                        group.create_task(self._put_right(record), name=f"put right {record.pid}")
                sweep_away(self._node.paths.run_dir, {record.pid for record in records})
                group.create_task(self._sweep_guests(), name="sweep guests")
                await asyncio.Event().wait()
        finally:
            self._background = None
            self._shims.close()

    def away(self) -> list[Away]:
        """Processes of this node that run elsewhere, by PID."""
        return [entry for _, entry in sorted(self._away.items()) if entry.node not in (0, self._node.number)]

    def guests(self) -> list[Guest]:
        """Processes of other nodes that run here."""
        return read_guests(self._node.paths.run_dir)

    def moves(self, pid: int) -> int:
        """How often this process has moved since it started."""
        if not self._moves:
            return 0
        with contextlib.suppress(ProcessVanished):
            return self._moves.get((pid, read_facts(pid).start_ticks), 0)
        return 0

    def reasons(self, pid: int) -> list[str]:
        """Why this process cannot move; empty when it can.  Raises ProcessVanished."""
        return [] if pid in self._away else survey(pid).reasons

    async def move(self, pid: int, to: int, progress: Progress, hints: Any = None) -> dict[str, Any]:
        """Move a process of this node to node `to` (its own number: home).  Returns the report.

        `hints` (`Hints` as a dict) are for the balancer there.  Raises MosixError that says where the process is now.
        """
        facts = read_facts(pid)
        going_home = to == self._node.number
        if going_home and pid not in self._away:
            return {"pid": pid, "origin": to, "target": to, "already": True}
        address = self._node.address if going_home else self._node.address_of(to)
        destination = Destination(node=to, address=address, port=self._node.peer_port)
        if going_home:
            request = {"op": "home", "destination": msgspec.to_builtins(destination), "hints": hints or {}}
            return await self._ask_shim(pid, facts, request, progress, to)
        if pid not in self._away:
            found = survey(pid)
            if found.reasons:
                text = f"Process #{pid} is unmovable: {', '.join(found.reasons)}."
                raise MosixError("unmovable", text, 255)
            await self._start_home_shim(pid, facts)
        elif self._away[pid].node == to:
            return {"pid": pid, "origin": to, "target": to, "already": True}
        request = {"op": "move", "destination": msgspec.to_builtins(destination), "hints": hints or {}}
        return await self._ask_shim(pid, facts, request, progress, to)

    async def status(self, pid: int) -> dict[str, Any]:
        """What the shim of a process away says of it.  Raises MosixError."""
        async with asyncio.timeout(STATUS_TIMEOUT_S):
            answer = await ask_shim(self._work_dir(pid), pid, {"op": "status"}, None)
        if answer is None:
            raise MosixError("no-such-process", f"No such process ({pid}).", 255)
        return answer.value()

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
            "ports": self._ports,
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
        """What became of a migration to this node (see `Fate`): running and pending are not its end."""
        if not migration_id.isalnum():
            return RAN
        directory = self._node.paths.run_dir / "guests" / migration_id
        with contextlib.suppress(OSError):
            return directory.with_suffix(".fate").read_text()
        if (directory / "ran").exists():
            return Fate.RUNNING
        return Fate.PENDING if directory.exists() else NEVER_RAN

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
            lease_s=self._terms.lease_s,
            grace_s=self._terms.grace_s,
        )
        shim = self._shim_of[pid] = object()
        try:
            await self._shims.start("home", msgspec.json.encode(spec), lambda: self._shim_ended(pid, shim))
            self._away[pid] = Away(pid=pid, start_ticks=facts.start_ticks, node=0, uid=facts.uid, moves=0)
        except MosixError:
            read_facts(pid)  # most often it has simply ended
            raise
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
        self._outcomes.pop(pid, None)
        answer = await ask_shim(self._work_dir(pid), pid, request, progress)
        if answer is not None:
            if answer.over:
                await self._wait_for_claim(pid)
            return answer.value()
        await self._wait_for_record(pid)
        outcome = self._outcomes.pop(pid, "it is where it was")
        raise MosixError("shim-lost", f"The move of process {pid} was cut off, its shim was killed: {outcome}.", 255)

    async def _wait_for_claim(self, pid: int) -> None:
        """The shim said that it is over: the next move can begin when it has let go of the process."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LET_GO_TIMEOUT_S):
                while not is_free(self._work_dir(pid)):
                    await asyncio.sleep(_POLL_S)
        if self._journal.read(pid) is None:
            self._away.pop(pid, None)
            self._shim_of.pop(pid, None)

    async def _wait_for_record(self, pid: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PUT_RIGHT_TIMEOUT_S):
                while self._journal.read(pid) is not None or pid in self._righting:
                    await asyncio.sleep(_POLL_S)

    def _work_dir(self, pid: int) -> Path:
        return self._node.paths.run_dir / "away" / str(pid)

    def _shim_ended(self, pid: int, shim: object) -> None:
        if self._shim_of.get(pid) is not shim:
            return  # it was over before, and the process may have another by now
        del self._shim_of[pid]
        self._away.pop(pid, None)
        record = self._journal.read(pid)
        if record is not None and self._background is not None:
            self._background.create_task(self._put_right(record), name=f"put right {pid}")

    def _guest_ended(self, directory: Path) -> None:
        if self._background is not None:
            ending = asyncio.to_thread(forget_guest, directory)
            self._background.create_task(ending, name=f"end of guest {directory.name}")

    async def _adopt(self, record: Record) -> bool:
        """Take over a process that an earlier daemon left away; False when its shim does not answer."""
        try:
            status = await self.status(record.pid)
        except (MosixError, TimeoutError, OSError, ValueError):
            return False
        self._know(record, status)
        shim = self._shim_of[record.pid] = object()
        if status["state"] != State.AWAY and self._background is not None:
            self._background.create_task(self._follow(record, shim), name=f"follow {record.pid}")
        self._shims.watch(int(status["shim_pid"]), lambda: self._shim_ended(record.pid, shim))
        _log.info("process.adopted", extra={"pid": record.pid, "node": status["node"]})
        return True

    def _know(self, record: Record, status: dict[str, Any]) -> None:
        pid, moves = record.pid, int(status["moves"])
        self._away[pid] = Away(
            pid=pid, start_ticks=record.start_ticks, node=int(status["node"]), uid=record.uid, moves=moves
        )
        self._moves[(pid, record.start_ticks)] = moves

    async def _follow(self, record: Record, shim: object) -> None:
        """A move that an earlier daemon began: find out where it ends."""
        while self._shim_of.get(record.pid) is shim:
            with contextlib.suppress(MosixError, TimeoutError, OSError, ValueError):
                status = await self.status(record.pid)
                if self._shim_of.get(record.pid) is shim:
                    self._know(record, status)
                if status["state"] == State.AWAY:
                    return
            await asyncio.sleep(_RETRY_S)

    async def _put_right(self, record: Record) -> None:
        """Recover a process whose shim is gone; one that is only slow to answer is adopted after all."""
        self._righting.add(record.pid)
        try:
            await self._recover(record)
        finally:
            self._righting.discard(record.pid)

    async def _recover(self, record: Record) -> None:
        while not is_free(self._work_dir(record.pid)):
            if await self._adopt(record):
                return
            await asyncio.sleep(_RETRY_S)
        current = self._journal.read(record.pid)
        if current is None:
            return  # the shim came to its end by itself
        if current.boot_id == boot_id() and recovery(current.state) is Recovery.ASK_GUEST:
            node, port = self._node, self._node.peer_port
            within_s = certain_after_s(self._terms.lease_s)
            await ask_node(node.identity, current.address, port, current.node, current.migration_id, within_s)
        try:
            outcome = await asyncio.to_thread(recover, current, self._journal, self._work_dir(record.pid))
        except (MosixError, OSError) as error:
            _log.error("process.not_recovered", extra={"pid": record.pid, "why": str(error)})
            return
        self._outcomes[record.pid] = outcome
        while len(self._outcomes) > MAX_AWAY:
            del self._outcomes[next(iter(self._outcomes))]

    async def _sweep_guests(self) -> None:
        """Watch the guests that are here, and remove what guest shims left that are gone."""
        run_dir = self._node.paths.run_dir
        there = {guest.migration_id: guest for guest in known_guests(run_dir)}
        for guest in there.values():
            self._shims.watch(
                guest.shim_pid, functools.partial(self._guest_ended, run_dir / "guests" / guest.migration_id)
            )
        await asyncio.to_thread(sweep_guests, run_dir, set(there))
        await asyncio.sleep(_STARTING_S)
        still = {guest.migration_id for guest in known_guests(run_dir)}
        await asyncio.to_thread(sweep_guests, run_dir, still, unborn=True)


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
