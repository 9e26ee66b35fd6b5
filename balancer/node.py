"""The balancer of one node: events in, commands out.

It owns the load filters, the process table, the gossip, the leases and the one move under way, and makes
decisions with `decide`. It must never wait, read a clock or do I/O: the daemon and the simulator both feed
it events and carry out its commands, and answers come back as events. Given the same events, times and seed
it gives the same commands.
"""

from __future__ import annotations

from collections.abc import Callable

from balancer import load as node_load
from balancer import migration_cost, utilisability
from balancer.announcer import Announcer
from balancer.decide import Decision, decide
from balancer.draw import Draw
from balancer.events import (
    AnswerLease,
    AskLease,
    Command,
    Event,
    GuestArrived,
    HoldProcess,
    LeaseAnswered,
    LeaseAsked,
    LeaseReleased,
    MembersChanged,
    MoveEnded,
    PlaceWanted,
    ReleaseLease,
    ReleaseProcess,
    SendVector,
    SettingsChanged,
    StartMove,
    Tick,
    VectorReceived,
)
from balancer.explain import Explanation, explain
from balancer.facts import Hold, Move, OwnFacts, ProcessFacts, Stay, View
from balancer.gossip import Gossip
from balancer.leases import LeaseAsk, LeaseBook
from balancer.memory import RESERVE, USABLE
from balancer.outgoing import Outgoing
from balancer.peers import PeerBook
from balancer.placing import PlacingDesk
from balancer.policies import policy_named
from balancer.processes import ProcessTable
from balancer.promises import PromiseWatch
from balancer.ring import DecisionRing
from balancer.settings import Settings
from balancer.speed import relative_speed
from balancer.steadiness import Steadiness
from balancer.trust import TrustBook
from balancer.vector import URGENT

MAX_LOST = 4096


class BalancerCore:
    """One node's balancer. Not thread-safe; `now` is the caller's monotonic time in seconds and should not
    fall.
    """

    def __init__(self, node: int, settings: Settings, seed: int, incarnation: int) -> None:
        """`seed` feeds every draw; `incarnation` (32 bits) must be larger than at the last start of this
        node's daemon.
        """
        self.node = node
        self.settings = settings
        self.policy = policy_named(settings.policy)
        self.draw = Draw(seed)
        self.announcer = Announcer(self, incarnation)
        self.gossip = Gossip(node, settings.plan or self.policy.plan, self.draw.random())
        self.members: tuple[int, ...] = ()
        self._lost: set[int] = set()  # former members
        self.processes = ProcessTable()
        self.peers = PeerBook()
        self.trust = TrustBook()
        self.promises = PromiseWatch()
        self.leases = LeaseBook()
        self.placing = PlacingDesk(self)
        self.filters = node_load.LoadFilters()
        self.steadiness = Steadiness()
        self.efficiency = 1.0
        self.move_cost = migration_cost.MoveCost()
        self.ring = DecisionRing()
        self.outgoing: Outgoing | None = None
        self.peak_load = 1.0
        self.fastest = 0  # speed of the fastest node heard of
        self.mem_total = 0.0
        self.mem_used = 0.0
        self._other_load = 0.0
        self._left = 0.0
        self._arrivals = 0
        self._asks = 0
        self._last_tick: float | None = None
        self._rest_until = 0.0
        self._handlers: dict[type, Callable[..., list[Command]]] = {
            Tick: self._tick,
            VectorReceived: self._vector_received,
            MembersChanged: self._members_changed,
            LeaseAsked: self._lease_asked,
            LeaseAnswered: self._lease_answered,
            LeaseReleased: self._lease_released,
            GuestArrived: self._guest_arrived,
            MoveEnded: self._move_ended,
            PlaceWanted: self.placing.wanted,
            SettingsChanged: self._settings_changed,
        }

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event and say what is to be done."""
        return self._handlers[type(event)](event, now)

    # What others see of the node ---------------------------------------------------------------------------------

    def load(self) -> float:
        """Processes that want to run here now, with those promised and those just starting."""
        return self.processes.load() + self._other_load + self.leases.reserved_load() + self.placing.starting

    def mem_free(self) -> float:
        """Bytes free, less what has been promised; suspended processes count as gone."""
        used = self.mem_used - self.processes.held_bytes() + self.leases.reserved_bytes()
        return max(0.0, self.mem_total - used)

    def next_ask_id(self) -> int:
        """A fresh number for a question to a peer."""
        self._asks += 1
        return self._asks

    def view(self, now: float, processes: tuple[ProcessFacts, ...] = ()) -> View:
        """All that a decision may use, as of now."""
        settings = self.settings
        speed = relative_speed(settings.speed)
        own = OwnFacts(
            self.node,
            self.load(),
            node_load.local_load(self.filters, self._left, settings.speed, settings.cpus, self.efficiency),
            speed,
            settings.cpus,
            self.mem_total,
            self.mem_total - self.mem_free(),
            self.efficiency,
            settings.stay,
            settings.lstay,
            settings.draining,
            self.outgoing is not None,
            self.steadiness.lasted_s(now),
        )
        return View(
            own,
            self.peers.facts(self.gossip, self.trust, self.members, now),
            processes,
            self.move_cost,
            settings.policy,
            len(self.members) + 1,
            settings.limits,
            self.peak_load,
        )

    def explain(self, pid: int, node: int | None, now: float) -> Explanation:
        """Why a process is where it is: the last decision that was about it, or else one made now and not
        acted upon.
        """
        for decision in reversed(self.ring.decisions()):
            if isinstance(decision.choice, (Move, Hold)) and decision.choice.pid == pid:
                return explain(decision, pid, node)
        return explain(decide(self.view(now, self.processes.facts(now)), now, 0), pid, node)

    # Events ------------------------------------------------------------------------------------------------------

    def _tick(self, event: Tick, now: float) -> list[Command]:
        elapsed = 1.0 if self._last_tick is None else now - self._last_tick
        if elapsed <= 0:
            elapsed = 1.0
        self._last_tick = now
        settings = self.settings
        table = self.processes
        table.update(event.processes, now, relative_speed(settings.speed), settings.decay)
        self.mem_total, self.mem_used = event.mem_total, event.mem_used
        self._other_load = event.other_load
        self.placing.tick(now)
        self.leases.expire(now)
        running = table.load() + event.other_load
        self.steadiness.observe(running, now)
        self.filters = node_load.step(self.filters, running, self._arrivals, elapsed)
        self.efficiency = utilisability.step(self.efficiency, event.memory_stall)
        self._left = 0.0
        self._arrivals = 0
        if event.away:
            self.promises.observe(event.away, self, now)
        commands = self._release_held(now)
        commands += self.announcer.announce(now)
        out = self.outgoing
        if out is not None and out.overdue(now, settings.ask_timeout_s, settings.move_timeout_s):
            self.outgoing = out = None
        if out is None and table.tracked and now >= self._rest_until:
            commands += self._decide(now)
        return commands

    def _nothing_to_gain(self) -> bool:
        """True when a look at the few facts at hand shows that our rule would move nothing: everybody has a
        CPU of the fastest kind known, memory is enough, and no guest calls home.
        """
        settings = self.settings
        return (
            self.policy.asks_first
            and not settings.draining
            and self.load() <= settings.cpus
            and self.fastest <= settings.speed
            and self.mem_used <= USABLE * self.mem_total
            and all(
                not t.held_until and (t.home == self.node or not t.io_calls) for t in self.processes.tracked.values()
            )
        )

    def _decide(self, now: float) -> list[Command]:
        if self._nothing_to_gain():
            return []
        view = self.view(now, self.processes.facts(now))
        decision = decide(view, now, self.draw.getrandbits(63))
        self.ring.add(decision)
        return self._act(decision, now)

    def _act(self, decision: Decision, now: float) -> list[Command]:
        choice = decision.choice
        if isinstance(choice, Stay):
            if choice.considered and (considered := self.processes.tracked.get(choice.considered)):
                considered.considered_cpu_s = considered.cpu_s
            return []
        tracked = self.processes.tracked[choice.pid]
        if isinstance(choice, Hold):
            tracked.held_until = now + choice.seconds
            return [HoldProcess(choice.pid, choice.why)]
        process = next(p for p in decision.view.processes if p.pid == choice.pid)
        tracked.considered_cpu_s = tracked.cpu_s
        out = self.outgoing = Outgoing(choice, process, now)
        if self.policy.asks_first:
            return self._ask_next(out, now)
        target = out.next_target(0, now)
        self.peers.tell(target, self.peers.load_of(target, self.gossip) + process.demand, now)
        return self._start(out, target)

    def _ask_next(self, out: Outgoing, now: float) -> list[Command]:
        node = out.next_target(self.next_ask_id(), now)
        if not node:
            self.outgoing = None
            self._rest_until = now + self.settings.rest_after_refusal_s
            return []
        process = out.process
        hold_s = 5 + 3 * self.move_cost.seconds(process.rss_bytes)
        seen = self.peers.load_of(node, self.gossip)
        ask = LeaseAsk(
            self.node,
            out.ask_id,
            process.demand,
            process.rss_bytes,
            seen,
            out.move.step,
            hold_s,
            process.home,
        )
        return [AskLease(node, ask, self.settings.ask_timeout_s)]

    def _start(self, out: Outgoing, node: int) -> list[Command]:
        out.moving_to = node
        process = out.process
        return [StartMove(process.pid, node, out.ask_id, out.move.why, out.move.step, process.left)]

    def _release_held(self, now: float) -> list[Command]:
        commands: list[Command] = []
        for pid, tracked in self.processes.tracked.items():
            if not tracked.held_until:
                continue
            rss = tracked.sample.rss_bytes if tracked.sample is not None else 0.0
            if now >= tracked.held_until or rss <= self.mem_free() - RESERVE * self.mem_total:
                tracked.held_until = 0.0
                tracked.may_hold_at = now + self.settings.limits.hold_s
                commands.append(ReleaseProcess(pid))
        return commands

    def _vector_received(self, event: VectorReceived, now: float) -> list[Command]:
        known = self.gossip.table.get(event.sender)
        news = self.gossip.merge(event.entries, now, event.transit_s)
        urgent = False
        for entry in news:
            if entry.load > self.peak_load:
                self.peak_load = entry.load
            if entry.speed > self.fastest:
                self.fastest = entry.speed
            if entry.flags & URGENT:
                urgent = True
            if known is not None and entry.node == event.sender and entry.stamp >> 32 != known[0].stamp >> 32:
                self.trust.came_back(event.sender, now)
        commands: list[Command] = []
        if event.wants_answer and self.gossip.entry is not None and not self.settings.quiet:
            commands.append(SendVector((event.sender,), tuple(self.gossip.message(now))))
        if urgent and self.outgoing is None and now >= self._rest_until and self.load() > self.settings.cpus:
            commands += self._decide(now)
        return commands

    def _members_changed(self, event: MembersChanged, now: float) -> list[Command]:
        gone = set(self.members) - set(event.members)
        for node in gone:
            self.gossip.forget(node)
            self.peers.forget(node)
            self.leases.forget_node(node)
        for node in self._lost & set(event.members):
            self.trust.came_back(node, now)
        self.members = tuple(node for node in event.members if node != self.node)
        self._lost = ((self._lost | gone) - set(self.members)) if len(self._lost) < MAX_LOST else gone
        out = self.outgoing
        if out is not None and not out.moving_to and out.asked in gone:
            return self._ask_next(out, now)
        return []

    def _lease_asked(self, event: LeaseAsked, now: float) -> list[Command]:
        ask = event.ask
        promised = self.leases.reserved_load()
        load = self.load() if event.load_now is None else event.load_now + promised
        mem_free = self.mem_free()
        if event.mem_free_now is not None:
            mem_free = event.mem_free_now - self.leases.reserved_bytes()
        refuses = ""
        if self.settings.draining:
            refuses = "it is being emptied"
        elif self.settings.block and ask.home != self.node:
            refuses = "it takes no guests (block)"
        reason = self.leases.consider(ask, now, load=load, mem_free=mem_free, mem_total=self.mem_total, refuses=refuses)
        return [AnswerLease(ask.asker, ask.ask_id, not reason, load, reason)]

    def _lease_answered(self, event: LeaseAnswered, now: float) -> list[Command]:
        if self.placing.knows(event.ask_id):
            return self.placing.answered(event, now)
        out = self.outgoing
        if out is None or out.moving_to or out.ask_id != event.ask_id or out.asked != event.node:
            return [ReleaseLease(event.node, event.ask_id)] if event.granted else []
        if not event.granted:
            self.peers.tell(event.node, event.load, now)
            return self._ask_next(out, now)
        self.peers.tell(event.node, event.load + out.process.demand, now)
        if out.process.pid not in self.processes.tracked:
            self.outgoing = None
            return [ReleaseLease(event.node, event.ask_id)]
        return self._start(out, event.node)

    def _lease_released(self, event: LeaseReleased, now: float) -> list[Command]:
        self.leases.release(event.asker, event.ask_id)
        return []

    def _guest_arrived(self, event: GuestArrived, now: float) -> list[Command]:
        self.leases.release(event.came_from, event.ask_id)
        self._arrivals += 1
        self.processes.arrive(event, 1.0, now)
        return []

    def _move_ended(self, event: MoveEnded, now: float) -> list[Command]:
        out = self.outgoing
        ours = out is not None and out.process.pid == event.pid
        commands: list[Command] = []
        if ours:
            self.outgoing = None
        if not event.ok:
            self._rest_until = now + self.settings.rest_after_refusal_s
            if ours and out is not None and out.ask_id:
                commands.append(ReleaseLease(event.node, out.ask_id))
            return commands
        self.move_cost = migration_cost.learn(self.move_cost, event.size_bytes, event.frozen_s)
        tracked = self.processes.leave(event.pid)
        if tracked is not None:
            self._left += tracked.demand
        if ours and self.policy.asks_first and self.load() > self.settings.cpus:
            commands += self._decide(now)
        return commands

    def _settings_changed(self, event: SettingsChanged, now: float) -> list[Command]:
        self.settings = event.settings
        self.policy = policy_named(event.settings.policy)
        plan = event.settings.plan or self.policy.plan
        self.gossip.plan = plan
        return []
