"""Migration as a service of the daemon: its verbs, its peer verbs, and what administration asks of it.

Owns permissions, the words a user may say for a destination, and the checks of a node that can be made
before a process is touched.  The moves themselves are the business of `migrated`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from migrated.core.hints import Hints
from migrated.core.lease import GRACE_S, LEASE_S, Terms
from migrated.known import Guest
from migrated.service import GUEST_PORTS, MigrationService, find_node, find_process
from omdiscd.admin.interfaces import Destination, GuestHere, ProcessAway, Progress, Usage
from omdiscd.config import Seconds, bad_config, section
from omdiscd.control.registry import Caller, Registry
from omdiscd.io.peer_server import PeerCaller, PeerRegistry
from omdiscd.node import MemberView, Node
from omprotocol.certificates import Identity
from omprotocol.errors import EXIT_NOT_FOUND, MosixError
from omprotocol.paths import Paths

log = logging.getLogger(__name__)
HOMEWARD_S = 120.0
Balance = Callable[[int], int | None]
Homecoming = Callable[[int, int, Hints], None]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class MigrationForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section [migration]: how long a guest of ours may run without a word from here, and is held after that; the
    TCP ports on which guests are received here.
    """

    lease_s: Seconds = LEASE_S
    grace_s: Seconds = GRACE_S
    first_port: Port = GUEST_PORTS[0]
    last_port: Port = GUEST_PORTS[1]


class Migration:
    """A service (see `service.Service`) and the `MigrationControl` of administration."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._refusal: Callable[[], str | None] = lambda: None
        self._balance: Balance | None = None
        self._came_home: Homecoming = lambda _pid, _host, _hints: None
        form = section(node.config.migration, MigrationForm, node.paths.config_file, "migration")
        if form.first_port > form.last_port:
            raise bad_config(node.paths.config_file, "migration: first_port is above last_port")
        terms, ports = Terms(form.lease_s, form.grace_s), (form.first_port, form.last_port)
        self.service = MigrationService(_Facts(node), lambda _offer: self._refusal(), terms, ports)

    def refuse_guests_when(self, refusal: Callable[[], str | None]) -> None:
        """`refusal` gives the reason why no guest is taken now, or None."""
        self._refusal = refusal

    def balance_with(self, choose: Balance) -> None:
        """`choose` gives the best node for a process, or None to leave it where it is."""
        self._balance = choose

    def on_homecoming(self, listener: Homecoming) -> None:
        """`listener` hears of own processes that a host has sent back into their place: PID, host, hints."""
        self._came_home = listener

    def register(self, verbs: Registry, peer_verbs: PeerRegistry) -> None:
        """Add the verbs of migration."""
        verbs.add("migrate", self._migrate, "owner")
        verbs.add("where", self._where, "anyone")
        verbs.add("cantmove", self._cantmove, "anyone")
        verbs.add("away", self._list_away, "anyone")
        verbs.add("guests", self._list_guests, "anyone")
        peer_verbs.add("guest-offer", self._guest_offer)
        peer_verbs.add("guest-fate", self._guest_fate)
        peer_verbs.add("move-guest", self._move_guest)

    async def run(self) -> None:
        """Adopt what is away, then serve until cancelled."""
        await self.service.run()

    def on_member_change(self, member: MemberView, before: str | None) -> None:
        """Ignore it: a guest whose home is silent is the guest shim's business."""

    def guests(self) -> Sequence[GuestHere]:
        """Guests on this node now."""
        return [_guest_here(guest) for guest in self.service.guests()]

    def away(self) -> Sequence[ProcessAway]:
        """Processes of this node that run elsewhere now."""
        return [ProcessAway(pid=entry.pid, node=entry.node, nmigs=entry.moves) for entry in self.service.away()]

    def nmigs(self, pid: int) -> int:
        """How often this local process has moved since it started."""
        return self.service.moves(pid)

    def cantmove(self, pid: int) -> Sequence[str]:
        """Reasons why the local process cannot move; empty when it can."""
        return self.service.reasons(pid)

    async def usage(self, pid: int) -> Usage | None:
        """What the body of a process away uses; None when its shim does not know or answer."""
        try:
            status = await self.service.status(pid)
            return Usage(float(status["cpu_s"]), int(status["rss_bytes"]), float(status.get("run_delay_s", 0.0)))
        except (MosixError, OSError, KeyError, TypeError, ValueError):
            return None

    async def move(
        self, pid: int, to: Destination, progress: Progress, hints: Hints | None = None
    ) -> Mapping[str, Any]:
        """Move a process whose home is here; returns when it runs there.  Raises MosixError."""
        told = msgspec.to_builtins(hints) if hints is not None else None
        return await self.service.move(pid, self._target(pid, to), progress, told)

    async def send_guest(self, pid: int, to: Destination, hints: Hints | None = None) -> None:
        """Ask the guest's home, which may be this node, to move it; returns when it has left.  Raises MosixError."""
        guest = next((entry for entry in self.service.guests() if pid in (entry.host_pid, entry.pid)), None)
        if guest is None:
            raise MosixError("no-such-process", f"No guest with PID {pid} is here.", EXIT_NOT_FOUND)
        if guest.home == self._node.number:
            await self.move(guest.pid, to, _nobody, hints)
            return
        args = {"pid": guest.pid, "to": to, "hints": msgspec.to_builtins(hints or Hints())}
        await self._node.call_peer(guest.home, "move-guest", args, HOMEWARD_S)

    def _target(self, pid: int, to: object) -> int:
        if to in ("home", 0):
            return self._node.number
        if to in ("balance", -1):
            if self._balance is None:
                raise MosixError("no-balancer", "Balance requests are not available: no balancer is running.", 255)
            return self._balance(pid) or self._current(pid)
        return find_node(to)

    def _current(self, pid: int) -> int:
        return next((entry.node for entry in self.service.away() if entry.pid == pid), self._node.number)

    async def _migrate(self, caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
        facts = find_process(args.get("pid"))
        if not caller.may_act_for(facts.uid):
            raise MosixError("permission", "Permission denied.", 255)
        return await self.service.move(facts.pid, self._target(facts.pid, args.get("to")), caller.progress)

    async def _where(self, _caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
        facts = find_process(args.get("pid"))
        entry = next((one for one in self.service.away() if one.pid == facts.pid), None)
        if entry is None:
            return {"pid": facts.pid, "node": 0, "nmigs": self.nmigs(facts.pid)}
        status = await self.service.status(facts.pid)
        usage = {"cpu_s": status["cpu_s"], "rss_bytes": status["rss_bytes"]}
        return {"pid": facts.pid, "node": entry.node, "nmigs": entry.moves, **usage}

    async def _cantmove(self, _caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
        facts = find_process(args.get("pid"))
        return {"pid": facts.pid, "reasons": list(self.cantmove(facts.pid))}

    async def _list_away(self, _caller: Caller, _args: dict[str, Any]) -> dict[str, Any]:
        return {"away": [msgspec.to_builtins(entry) for entry in self.service.away()]}

    async def _list_guests(self, _caller: Caller, _args: dict[str, Any]) -> dict[str, Any]:
        return {"guests": [msgspec.to_builtins(guest) for guest in self.service.guests()]}

    async def _guest_offer(self, peer: PeerCaller, args: dict[str, Any]) -> dict[str, Any]:
        return await self.service.accept_guest(peer.node, args)

    async def _guest_fate(self, _peer: PeerCaller, args: dict[str, Any]) -> dict[str, Any]:
        return {"fate": self.service.fate(str(args.get("migration_id", "")))}

    async def _move_guest(self, peer: PeerCaller, args: dict[str, Any]) -> dict[str, Any]:
        """A host asks that its guest leave: only the host of the process may ask."""
        facts = find_process(args.get("pid"))
        if self._current(facts.pid) != peer.node:
            raise MosixError("permission", f"Process {facts.pid} is not on node {peer.node}.", 255)
        try:
            hints = msgspec.convert(args.get("hints", {}), Hints)
        except msgspec.ValidationError as error:
            raise MosixError("bad-request", f"The hints are none: {error}.", 255) from None
        report = dict(await self.move(facts.pid, args.get("to", "home"), _nobody, hints))
        if report.get("target") == self._node.number and report.get("in_place"):
            self._came_home(facts.pid, peer.node, hints)
        return report


class _Facts:
    """The node as `migrated.service` wants to see it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def number(self) -> int:
        """Own node number."""
        return self._node.number

    @property
    def address(self) -> str:
        """Own address in the cluster."""
        return self._node.address

    @property
    def peer_port(self) -> int:
        """The port of every node's daemon."""
        return self._node.config.network.peer_port

    @property
    def paths(self) -> Paths:
        """Where this node keeps its files."""
        return self._node.paths

    @property
    def identity(self) -> Identity:
        """This node's certificate."""
        return self._node.identity

    def address_of(self, node: int) -> str:
        """The address of a live node.  Raises MosixError when it is unknown or down."""
        if not self._node.own_node:
            raise MosixError("not-configured", "This node has no number in the cluster (yet): see showmap.", 255)
        member = self._node.member(node)
        if member is None:
            raise MosixError("no-such-node", f"Node #{node} is not configured.", EXIT_NOT_FOUND)
        if not member.is_up:
            raise MosixError("node-down", f"Node #{node} is down.", EXIT_NOT_FOUND)
        return member.address


def _guest_here(guest: Guest) -> GuestHere:
    return GuestHere(
        pid=guest.host_pid or guest.shim_pid,
        home=guest.home,
        home_pid=guest.pid,
        uid=guest.uid,
        command=guest.command,
        came_from=guest.came_from,
        hints=guest.hints,
    )


async def _nobody(_body: dict[str, Any]) -> None:
    return None
