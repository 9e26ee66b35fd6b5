"""A simulated cluster: machines, a network and one real `BalancerCore` per node, driven by a virtual clock.

Nothing is decided here. Arrivals, ticks and messages become events of the cores, and their commands become
moves and messages. Messages take no time but may be lost; an unanswered question comes back as a refusal.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from balancer.draw import Draw
from balancer.events import (
    AnswerLease,
    AskLease,
    AwaySample,
    Command,
    Event,
    GuestArrived,
    HoldProcess,
    LeaseAnswered,
    LeaseAsked,
    LeaseReleased,
    MembersChanged,
    MoveEnded,
    Place,
    PlaceWanted,
    ReleaseLease,
    ReleaseProcess,
    SendVector,
    StartMove,
    Tick,
    VectorReceived,
)
from balancer.gossip import GossipPlan
from balancer.node import BalancerCore
from balancer.settings import Settings
from balancer.simulate.machine import Job, Machine
from balancer.simulate.streams import Arrival
from balancer.simulate.world import Outage, World, claiming_idle
from balancer.speed import STANDARD_SPEED

QUIET_S = 40.0  # nothing changed for so long: skip to the next thing that will
PING_PONG_S = 30.0
_DONE, _ARRIVED, _OUTSIDE = 0, 1, 2


class Simulation:
    """One run of one policy on one stream."""

    def __init__(
        self,
        world: World,
        stream: Sequence[Arrival],
        policy: str,
        seed: int,
        *,
        plan: GossipPlan | None = None,
        outages: Sequence[Outage] = (),
        settings: Settings | None = None,
    ) -> None:
        self.world = world
        self.now = 0.0
        count = len(world.speeds)
        cpus = world.cpus or (1.0,) * count
        memory = world.memory or (8e9,) * count
        self.machines = {i + 1: Machine(i + 1, world.speeds[i], cpus[i], memory[i]) for i in range(count)}
        base = settings or Settings()
        self.cores: dict[int, BalancerCore] = {}
        draw = Draw(seed)
        self._loss_draw = Draw(draw.getrandbits(63))
        for node, machine in self.machines.items():
            own = msgspec.structs.replace(
                base, policy=policy, speed=round(machine.speed * STANDARD_SPEED), cpus=machine.cpus, plan=plan
            )
            self.cores[node] = BalancerCore(node, own, draw.getrandbits(63), 1)
        self.jobs = [Job(i + 1, a.at_s, a.size_s, a.rss_bytes, a.home) for i, a in enumerate(stream)]
        self.unfinished = len(self.jobs)
        self.lost = 0
        self.moves = 0
        self.messages = 0
        self.asks = 0
        self.refusals = 0
        self.holds = 0
        self._cut: set[int] = set()
        self._heap: list[tuple[float, int, int, object]] = []
        self._serial = 0
        self._queue: deque[tuple[int, Command]] = deque()
        self._ticks = sorted((draw.random(), node) for node in self.machines)
        self._idle = policy == "none"  # nobody decides anything: no ticks
        self._turn = 0
        self._base = 0.0
        self._next = 0
        self._changed = 0.0
        self._away: dict[int, dict[int, Job]] | None = {node: {} for node in self.machines} if world.liars else None
        members = tuple(self.machines)
        for node in members:
            self._feed(node, MembersChanged(tuple(other for other in members if other != node)))
        for outage in outages:
            self.at(outage.at_s, lambda o=outage: self._begin(o))  # type: ignore[misc]
            self.at(outage.until_s, lambda o=outage: self._end(o))  # type: ignore[misc]

    # The clock ---------------------------------------------------------------------------------------------------

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at a virtual time."""
        self._push(when, _OUTSIDE, action)

    def _push(self, when: float, kind: int, what: object) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (when, self._serial, kind, what))

    def run(self, until_s: float = 1e12) -> None:
        """Run until every job is done, or until `until_s`."""
        jobs, heap, ticks = self.jobs, self._heap, self._ticks
        while self.unfinished:
            arrival_s = jobs[self._next].arrived_s if self._next < len(jobs) else 1e300
            event_s = heap[0][0] if heap else 1e300
            tick_s = 1e301 if self._idle else self._base + ticks[self._turn][0]
            if not self._idle and tick_s - self._changed > QUIET_S and min(arrival_s, event_s) > tick_s:
                self._base += float(int(min(arrival_s, event_s, until_s) - tick_s))
                tick_s = self._base + ticks[self._turn][0]
                self._changed = tick_s
            now = min(arrival_s, event_s, tick_s)
            if now > until_s:
                self.now = until_s
                return
            self.now = now
            if now == arrival_s:
                self._next += 1
                self._arrive(jobs[self._next - 1])
            elif now == event_s:
                self._event(*heapq.heappop(heap)[2:])
            else:
                self._tick(ticks[self._turn][1])
                self._turn += 1
                if self._turn == len(ticks):
                    self._turn = 0
                    self._base += 1.0

    def _event(self, kind: int, what: object) -> None:
        if kind == _DONE:
            machine, version = cast(tuple[Machine, int], what)
            if machine.version == version:
                self._finish(machine)
        elif kind == _ARRIVED:
            self._arrived(*what)  # type: ignore[misc]
        else:
            what()  # type: ignore[operator]

    # Machines ----------------------------------------------------------------------------------------------------

    def _retime(self, machine: Machine) -> None:
        self._changed = self.now
        left_s = machine.retime()
        if left_s < 1e300:
            self._push(self.now + left_s, _DONE, (machine, machine.version))

    def _finish(self, machine: Machine) -> None:
        machine.advance(self.now)
        limit = machine.progress + 1e-9 * max(1.0, machine.progress)
        for job in [job for job in machine.jobs.values() if job.target <= limit]:
            machine.remove(job)
            self._end_job(job)
        self._retime(machine)

    def _end_job(self, job: Job) -> None:
        job.done_s = self.now
        self.unfinished -= 1
        if self._away is not None:
            self._away[job.home].pop(job.number, None)

    def _start(self, job: Job, node: int, left_s: float) -> None:
        machine = self.machines[node]
        machine.advance(self.now)
        machine.add(job, left_s, self.now)
        self._retime(machine)
        if self._away is not None:
            if node != job.home:
                self._away[job.home][job.number] = job
            else:
                self._away[job.home].pop(job.number, None)

    def _tick(self, node: int) -> None:
        machine = self.machines[node]
        if not machine.alive:
            return
        machine.advance(self.now)
        away: tuple[AwaySample, ...] = ()
        if self._away is not None and self._away[node]:
            away = tuple(self._away_sample(j) for j in self._away[node].values() if j.node)
        held_bytes = sum(job.rss_bytes for job, _ in machine.held.values()) if machine.held else 0.0
        samples = machine.samples(self.now) if machine.jobs or machine.held else ()
        self._feed(node, Tick(samples, machine.mem_total, machine.mem_used + held_bytes, away))

    def _away_sample(self, job: Job) -> AwaySample:
        machine = self.machines[job.node]
        machine.advance(self.now)
        cpu_s = machine.share_sum - job.share_0 if job.number in machine.jobs else job.sample.cpu_s
        return AwaySample(job.number, job.node, cpu_s, self.now - job.since_s - cpu_s)

    def _arrive(self, job: Job) -> None:
        if not self.machines[job.home].alive:
            job.done_s = self.now
            self.unfinished -= 1
            self.lost += 1
            return
        self._feed(job.home, PlaceWanted(job.number, job.rss_bytes))

    # Moves -------------------------------------------------------------------------------------------------------

    def _place(self, home: int, command: Place) -> None:
        job = self.jobs[command.token - 1]
        if command.node == home or not self.machines[command.node].alive:
            self._start(job, home, job.size_s)
            return
        job.placed = True
        job.frozen_s += self.world.place_cost_s
        if self.world.place_cost_s:
            what = (job, home, command.node, command.ask_id, job.size_s, None)
            self._push(self.now + self.world.place_cost_s, _ARRIVED, what)
        else:
            self._arrived(job, home, command.node, command.ask_id, job.size_s, None)

    def _move(self, source: int, command: StartMove) -> None:
        job = self.jobs[command.pid - 1]
        machine = self.machines[source]
        if job.node != source or (job.number not in machine.jobs and job.number not in machine.held):
            self._feed(source, MoveEnded(command.pid, command.node, False, reason="it has ended"))
            return
        machine.advance(self.now)
        local_s = machine.share_sum - job.share_0 if job.number in machine.jobs else job.sample.cpu_s
        job.base_cpu_s += local_s * machine.speed
        left_s = machine.remove(job)
        self._retime(machine)
        cost_s = 0.0 if self.world.free_moves else self.world.fixed_cost_s + job.rss_bytes / self.world.bytes_per_s
        self.moves += 1
        job.moves += 1
        if any(node == command.node and self.now - at < PING_PONG_S for node, at in job.left):
            job.returns += 1
        job.left.append((source, self.now))
        job.frozen_s += cost_s
        job.node = 0
        self._push(
            self.now + cost_s, _ARRIVED, (job, source, command.node, command.ask_id, left_s, cost_s, command.left)
        )

    def _arrived(
        self,
        job: Job,
        source: int,
        target: int,
        ask_id: int,
        left_s: float,
        cost_s: float | None,
        left: tuple[tuple[int, float], ...] = (),
    ) -> None:
        if not self.machines[target].alive:
            # The move failed before its commit: the process goes on where it was.
            if self.machines[source].alive:
                self._start(job, source, left_s)
                if cost_s is not None:
                    self._feed(source, MoveEnded(job.number, target, False, reason="the target died"))
            else:
                self._lose(job)
            return
        job.sample = msgspec.structs.replace(job.sample, cpu_s=0.0, run_delay_s=0.0)
        self._start(job, target, left_s)
        self._feed(
            target,
            GuestArrived(job.number, job.home, source, ask_id, job.base_cpu_s, self.now - job.arrived_s, left),
        )
        if cost_s is not None and self.machines[source].alive:
            self._feed(source, MoveEnded(job.number, target, True, job.rss_bytes, cost_s))

    def _lose(self, job: Job) -> None:
        self._end_job(job)
        self.lost += 1

    # Outages -----------------------------------------------------------------------------------------------------

    def _begin(self, outage: Outage) -> None:
        if outage.cut_only:
            self._cut |= set(outage.nodes)
        else:
            for node in outage.nodes:
                machine = self.machines[node]
                machine.advance(self.now)
                for job in [*machine.jobs.values(), *(job for job, _ in machine.held.values())]:
                    machine.remove(job)
                    self._lose(job)
                machine.alive = False
                self._retime(machine)
        self.at(self.now + self.world.detect_s, self._tell_members)

    def _end(self, outage: Outage) -> None:
        if outage.cut_only:
            self._cut -= set(outage.nodes)
        else:
            for node in outage.nodes:
                self.machines[node].alive = True
                old = self.cores[node]
                core = BalancerCore(node, old.settings, old.draw.getrandbits(63), old.announcer.incarnation + 1)
                self.cores[node] = core
        self._tell_members()

    def _tell_members(self) -> None:
        for node, machine in self.machines.items():
            if machine.alive:
                others = tuple(
                    o for o, m in self.machines.items() if o != node and m.alive and self._connected(node, o)
                )
                self._feed(node, MembersChanged(others))

    def _connected(self, a: int, b: int) -> bool:
        return not self._cut or (a in self._cut) == (b in self._cut)

    # Commands ----------------------------------------------------------------------------------------------------

    def _feed(self, node: int, event: Event) -> None:
        """Give a core an event, and carry out what it wants and what follows from that."""
        queue = self._queue
        busy = bool(queue)
        commands = self.cores[node].handle(event, self.now)
        if not commands:
            return
        queue.extend([(node, command) for command in commands])
        if busy:
            return
        while queue:
            sender, command = queue[0]
            self._carry_out(sender, command)
            queue.popleft()

    def _reaches(self, a: int, b: int) -> bool:
        if not self.machines[b].alive or not self._connected(a, b):
            return False
        return not self.world.loss or self._loss_draw.random() >= self.world.loss

    def _carry_out(self, node: int, command: Command) -> None:
        if isinstance(command, SendVector):
            entries = command.entries
            if node in self.world.liars:
                entries = tuple((claiming_idle(entry) if entry.node == node else entry, age) for entry, age in entries)
            for target in command.targets:
                self.messages += 1
                if self._reaches(node, target):
                    self._feed(target, VectorReceived(node, entries, command.wants_answer))
        elif isinstance(command, AskLease):
            self._ask(node, command)
        elif isinstance(command, StartMove):
            self._move(node, command)
        elif isinstance(command, Place):
            self._place(node, command)
        elif isinstance(command, ReleaseLease):
            if self._reaches(node, command.node):
                self._feed(command.node, LeaseReleased(node, command.ask_id))
        elif isinstance(command, HoldProcess):
            machine = self.machines[node]
            if command.pid in machine.jobs:
                machine.advance(self.now)
                self.holds += 1
                machine.samples(self.now)
                machine.hold(machine.jobs[command.pid])
                self._retime(machine)
        elif isinstance(command, ReleaseProcess):
            machine = self.machines[node]
            if command.pid in machine.held:
                machine.advance(self.now)
                machine.release(command.pid)
                self._retime(machine)

    def _ask(self, node: int, command: AskLease) -> None:
        self.asks += 1
        target = command.node
        ask_id = command.ask.ask_id
        if not self._reaches(node, target):
            self.refusals += 1
            # The timeout is taken to pass at once: a lost question costs a try, not a second.
            self._feed(node, LeaseAnswered(ask_id, target, False, command.ask.load_seen, "no answer"))
            return
        machine = self.machines[target]
        answers = self.cores[target].handle(
            LeaseAsked(command.ask, float(len(machine.jobs)), machine.mem_total - machine.mem_used), self.now
        )
        answer = answers[0]
        assert isinstance(answer, AnswerLease)
        granted, load = answer.granted, answer.load
        if target in self.world.liars:
            granted, load = True, 0.0
        if not self._reaches(target, node):
            granted, load = False, command.ask.load_seen
        self.refusals += not granted
        self._feed(node, LeaseAnswered(ask_id, target, granted, load, answer.reason))
