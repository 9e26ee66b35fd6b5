"""The balancer as a service of the daemon: feeds the pure core with facts and carries out its commands.

Owns the clock tick, the lease questions between nodes, and the moves the core asks for.  Every decision is the
core's; a command that cannot be carried out becomes an event that says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from random import SystemRandom
from typing import Any

import msgspec

from balancer.decay import DecayRates
from balancer.events import (
    AnswerLease,
    AskLease,
    Command,
    Event,
    LeaseAnswered,
    LeaseAsked,
    LeaseReleased,
    MembersChanged,
    MoveEnded,
    ProcessSample,
    ReleaseLease,
    SettingsChanged,
    StartMove,
    Tick,
    VectorReceived,
)
from balancer.facts import Limits
from balancer.leases import LeaseAsk
from balancer.load import local_load
from balancer.node import BalancerCore
from balancer.settings import Settings
from migrated.core.hints import Hints
from omdiscd.admin import process_facts
from omdiscd.admin.plugin import Administration
from omdiscd.balancing.arrivals import came_home, guest_arrived
from omdiscd.balancing.away import AwayWatch
from omdiscd.balancing.capacity import memory, processors
from omdiscd.balancing.delivery import Delivery
from omdiscd.balancing.facts import ProcessFactsOfHere
from omdiscd.balancing.gossip import LoadGossip
from omdiscd.balancing.settings import BalancingForm
from omdiscd.balancing.speed import kept_speed, measure
from omdiscd.control.registry import Caller, Registry
from omdiscd.core.admin import AdminSettings
from omdiscd.io.peer_server import PeerCaller, PeerRegistry
from omdiscd.migration import Migration
from omdiscd.node import MemberView, Node
from omprotocol.errors import MosixError

log = logging.getLogger(__name__)
TICK_S = 1.0
RELEASE_TIMEOUT_S = 2.0


class Balancing:
    """A service (see `service.Service`)."""

    def __init__(self, node: Node, administration: Administration, migration: Migration, form: BalancingForm) -> None:
        self._node = node
        self._admin = administration.service
        self._migration = migration
        self._form = form
        self._facts = ProcessFactsOfHere(administration.service, migration)
        self._tasks: asyncio.TaskGroup | None = None
        self._delivery = Delivery()
        self._away = AwayWatch(migration, lambda: self._delivery.is_short)
        self._guests: set[int] = set()
        incarnation = int(time.time()) & 0xFFFFFFFF
        self.core = BalancerCore(node.number, self._settings(), SystemRandom().getrandbits(63), incarnation)
        node.use_gossip(LoadGossip(self.core, self._vector))
        self._admin.on_change(lambda _settings: self._feed(SettingsChanged(self._settings())))
        migration.balance_with(self._best_node)
        migration.on_homecoming(self._came_home)

    def register(self, verbs: Registry, peer_verbs: PeerRegistry) -> None:
        """Add the verbs of balancing."""
        verbs.add("explain", self._explain, "anyone")
        verbs.add("balancing.decisions", self._decisions, "admin")
        peer_verbs.add("lease-ask", self._lease_asked)
        peer_verbs.add("lease-release", self._lease_released)

    async def run(self) -> None:
        """Tick until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._away.run(), name="usage of processes away")
            tasks.create_task(self._know_speed(), name="speed")
            due = time.monotonic()
            while True:
                try:
                    self._tick()
                except OSError:  # a process or group vanished in an unforeseen place: the next tick sees what is left
                    log.exception("balancer.tick_failed")
                due = max(due + TICK_S, time.monotonic())
                await asyncio.sleep(due - time.monotonic())

    async def _know_speed(self) -> None:
        """The first start measures, in a thread; until then the machine's BogoMIPS stand in."""
        state_dir = self._node.paths.state_dir
        speed = kept_speed(state_dir)
        self._admin.speed_is(await asyncio.to_thread(measure, state_dir) if speed is None else speed)

    def on_member_change(self, member: MemberView, before: str | None) -> None:
        """Tell the core who is there."""
        alive = tuple(view.node for view in self._node.members() if view.is_up and view.state != "joining")
        self._feed(MembersChanged(alive))

    @property
    def local(self) -> int:
        """Load of this node in openMosix's unit (a `LoadSource` of administration)."""
        core = self.core
        settings = core.settings
        return round(local_load(core.filters, 0.0, settings.speed, settings.cpus, core.efficiency))

    @property
    def utilizability(self) -> int:
        """Per cent; 100 x cpus is full."""
        return round(100 * self.core.settings.cpus * self.core.efficiency)

    def sample(self, speed: int) -> None:
        """Part of `LoadSource`: the core measures by itself."""

    def _tick(self) -> None:
        now = time.monotonic()
        settings = self._settings()
        if settings != self.core.settings:
            self._feed(SettingsChanged(settings))
        self._notice_guests()
        total, used = memory()
        processes: Sequence[ProcessSample] = self._facts.sample(now, self._node.number, self.core.members)
        self._delivery.observe(processes, settings.cpus, now)
        away = self._away.samples()
        self._feed(Tick(processes=tuple(processes), mem_total=total, mem_used=used, away=away))

    def _notice_guests(self) -> None:
        present = {guest.pid: guest for guest in self._migration.guests()}
        for pid in present.keys() - self._guests:
            self._feed(guest_arrived(present[pid]))
        self._guests = set(present)

    def _came_home(self, pid: int, host: int, hints: Hints) -> None:
        self._feed(came_home(pid, self._node.number, host, hints, self.core.settings.speed))

    def _vector(self, event: VectorReceived, now: float) -> None:
        self._carry_out(self.core.handle(event, now))

    def _feed(self, event: Event) -> None:
        self._carry_out(self.core.handle(event, time.monotonic()))

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case AskLease():
                    self._spawn(self._ask_lease(command), "ask lease")
                case ReleaseLease(node=node, ask_id=ask_id):
                    self._spawn(self._tell_release(node, ask_id), "release lease")
                case StartMove():
                    self._spawn(self._move(command), f"move {command.pid}")
                case _:
                    log.debug("balancer.command", extra={"command": type(command).__name__})

    def _spawn(self, work: Any, name: str) -> None:
        if self._tasks is None:
            work.close()
            return
        self._tasks.create_task(work, name=name)

    async def _ask_lease(self, command: AskLease) -> None:
        ask_id, node = command.ask.ask_id, command.node
        granted, load, reason = False, command.ask.load_seen, "no answer"
        try:
            args = {"ask": msgspec.to_builtins(command.ask)}
            answer = await self._node.call_peer(node, "lease-ask", args, command.timeout_s)
            granted, load = answer.get("granted") is True, float(answer.get("load", load))
            reason = str(answer.get("reason", ""))[:200]
        except (MosixError, ValueError, TypeError) as error:
            reason = str(error)
        self._feed(LeaseAnswered(ask_id=ask_id, node=node, granted=granted, load=load, reason=reason))

    async def _tell_release(self, node: int, ask_id: int) -> None:
        try:
            await self._node.call_peer(node, "lease-release", {"ask_id": ask_id}, RELEASE_TIMEOUT_S)
        except MosixError as error:
            log.debug("lease.release_failed", extra={"node": node, "why": error.message})

    async def _move(self, command: StartMove) -> None:
        began, pid = time.monotonic(), command.pid
        ok, reason, report = True, "", {}
        hints = self._hints(command)
        try:
            if pid in self._guests:
                await self._migration.send_guest(pid, command.node, hints)
            else:
                report = dict(await self._migration.move(pid, command.node, _nobody, hints))
        except (MosixError, OSError, TimeoutError) as error:
            ok, reason = False, str(error)
            self._facts.refused(pid)
        log.info("balancer.move", extra={"pid": pid, "node": command.node, "why": command.why, "failed": reason})
        frozen_s = float(report.get("frozen_ms", 1e3 * (time.monotonic() - began))) / 1e3
        size = float(report.get("bytes", 0))
        self._feed(MoveEnded(pid=pid, node=command.node, ok=ok, size_bytes=size, frozen_s=frozen_s, reason=reason))

    def _hints(self, command: StartMove) -> Hints:
        tracked = self.core.processes.tracked.get(command.pid)
        facts = tracked.facts(time.monotonic()) if tracked is not None else None
        if facts is None:
            return Hints(ask_id=command.ask_id)
        return Hints(command.ask_id, facts.cpu_s, facts.age_s, command.left)

    async def _lease_asked(self, peer: PeerCaller, args: dict[str, Any]) -> dict[str, Any]:
        try:
            ask = msgspec.convert(args.get("ask"), LeaseAsk)
        except msgspec.ValidationError as error:
            raise MosixError("bad-request", f"The question for a lease is none: {error}.") from None
        ask = msgspec.structs.replace(ask, asker=peer.node)
        for command in self.core.handle(LeaseAsked(ask), time.monotonic()):
            if isinstance(command, AnswerLease):
                return {"granted": command.granted, "load": command.load, "reason": command.reason}
        raise MosixError("internal", "The balancer gave no answer.")

    async def _lease_released(self, peer: PeerCaller, args: dict[str, Any]) -> dict[str, Any]:
        ask_id = args.get("ask_id")
        if isinstance(ask_id, int):
            self._feed(LeaseReleased(asker=peer.node, ask_id=ask_id))
        return {}

    async def _explain(self, _caller: Caller, args: dict[str, Any]) -> dict[str, Any]:
        pid, node = args.get("pid"), args.get("node")
        if not isinstance(pid, int) or (node is not None and not isinstance(node, int)):
            raise MosixError("bad-request", "A PID, and perhaps a node number, are expected.")
        process_facts.read_stat(pid)
        explanation = self.core.explain(pid, node, time.monotonic())
        lines = [explanation.summary, *explanation.lines]
        if not self._form.automatic:
            lines.append("Automatic migration is off ([balancing] automatic in openmosix.toml).")
        return {"pid": pid, "text": lines, "terms": msgspec.to_builtins(explanation.terms)}

    async def _decisions(self, _caller: Caller, _args: dict[str, Any]) -> dict[str, Any]:
        return {"decisions": self.core.ring.dump().decode()}

    def _best_node(self, pid: int) -> int | None:
        """The least loaded node whose load, with this process, is below ours; None to stay."""
        now = time.monotonic()
        view = self.core.view(now)
        here = (view.own.load or 1.0) / (view.own.cpus * view.own.speed)
        best = min(
            (
                ((peer.load + 1.0) / (peer.cpus * peer.speed), peer.node)
                for peer in view.peers
                if not peer.refuses and not peer.distrust
            ),
            default=(here, 0),
        )
        return best[1] if best[0] < here else None

    def _settings(self) -> Settings:
        settings: AdminSettings = self._admin.settings
        form = self._form
        return Settings(
            policy=form.policy,
            speed=self._admin.speed,
            cpus=processors(),
            stay=settings.stay or not form.automatic,
            lstay=settings.lstay,
            block=settings.block,
            quiet=settings.quiet,
            draining=settings.drain,
            decay=DecayRates(settings.decayinterval, settings.slowdecay, settings.fastdecay),
            limits=Limits(hold_when_short=False),
        )


async def _nobody(_body: dict[str, Any]) -> None:
    return None
