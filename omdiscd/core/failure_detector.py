"""Noticing that a member no longer answers: probe it, have others probe it, suspect it, call it dead.

Owns the timers of every member. Any authentic datagram of a member ends all doubt at once. A node that was
itself stopped or slow does not hold its own lateness against the others. Sources: SWIM (DSN 2002),
Lifeguard (arXiv 1707.00788).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omdiscd.core.awareness import Awareness
from omdiscd.core.effects import Effect, Multicast, Send
from omdiscd.core.member import Member, MemberState, Probe, Timings
from omdiscd.core.roster import Roster
from omdiscd.core.suspicion import Suspicion
from omdiscd.wire.messages import Ping, PingRequest, Suspect

if TYPE_CHECKING:
    from random import Random

HELPERS = 3
"""Members asked to probe for us (SWIM's k)."""
LATE_S = 1.0
"""A tick later than this means that this node itself was stopped."""
SUSPECTS_TOLD = 3
"""Members told of a suspicion where there is no multicast."""
_JOINING_PATIENCE_S = 30.0


class FailureDetector:
    """Judges the members of `roster`; says what is to be sent through `out`."""

    def __init__(self, node: int, roster: Roster, timings: Timings, rng: Random, out: list[Effect], now: float) -> None:
        self.awareness = Awareness(now)
        self.uses_multicast = True
        self._node = node
        self._roster = roster
        self._timings = timings
        self._rng = rng
        self._out = out
        self._sequence = rng.getrandbits(40)
        self._last_tick = now
        self._false_alarm_at = float("-inf")

    def tick(self, now: float, expected_s: float) -> None:
        """Look at every member; `expected_s` is the time that should have passed since the last tick."""
        late = now - self._last_tick - expected_s
        self._last_tick = now
        if late > LATE_S:
            self.awareness.bad_sign(now, min(3, int(late)))
            self._excuse(late, now)
        self.awareness.tick(now)
        others = len(self._roster.present()) - 1
        for member in list(self._roster):
            if member.state is MemberState.ALIVE:
                self._watch(member, now)
            elif member.state is MemberState.SUSPECT:
                self._doubt(member, now, others)
            elif member.state is MemberState.JOINING and now - member.heard_at > _JOINING_PATIENCE_S:
                self._roster.set_state(member, MemberState.DEAD, now)

    def heard(self, member: Member, at: float, now: float) -> None:
        """Take note that the member was heard at time `at`, by us or by somebody we believe."""
        member.heard_at = max(member.heard_at, at)
        member.probe = None
        if member.state is MemberState.SUSPECT and now - self._false_alarm_at >= self._timings.silent_s:
            self._false_alarm_at = now  # a cut link makes many at once, and says nothing about this node
            self.awareness.bad_sign(now)
        if member.state in (MemberState.SUSPECT, MemberState.DEAD):
            self._roster.set_state(member, MemberState.ALIVE, now)

    def acknowledged(self, node: int, boot_id: bytes, sequence: int, now: float) -> None:
        """Take note that an answer to a probe of ours came, from the member or through a helper.

        A helper may know another start of the daemon, or another host, by that number: hence the boot id.
        """
        member = self._roster.get(node)
        if member is None or member.boot_id != boot_id or member.probe is None:
            return
        if member.probe.sequence == sequence:
            self.heard(member, now, now)

    def accused(self, member: Member, by: int, incarnation: int, now: float) -> None:
        """Take note that `by` suspects the member too; ignored when we heard the member lately."""
        if incarnation < member.incarnation or now - member.heard_at < 1.5 * self._timings.period_s:
            return
        if member.state is MemberState.ALIVE:
            self._suspect(member, now)
        if member.suspicion is not None:
            member.suspicion.confirm(by)

    def probe(self, member: Member, now: float) -> None:
        """Ask the member itself whether it is there."""
        self._sequence += 1
        if member.probe is None:
            member.probe = Probe(now, self._sequence)
        ping = Ping(to=member.node, asker=self._node, sequence=member.probe.sequence)
        self._out.append(Send(member.address, member.gossip_port, ping))

    def _watch(self, member: Member, now: float) -> None:
        if now - member.heard_at <= self._timings.silent_s:
            return
        if member.probe is None:
            self.probe(member, now)
            return
        waited = now - member.probe.began
        patience = self._timings.probe_s * self.awareness.factor
        if not member.probe.is_indirect:
            if waited >= patience:
                member.probe.is_indirect = True
                self._ask_helpers(member, member.probe.sequence)
        elif waited >= 2 * patience:
            self._suspect(member, now)

    def _doubt(self, member: Member, now: float, others: int) -> None:
        if member.suspicion is None:
            member.suspicion = Suspicion(now)
        unit = self._timings.period_s * self.awareness.factor
        shortest = self._timings.suspicion_min_periods * unit
        longest = self._timings.suspicion_max_periods * unit
        if member.suspicion.is_over(now, shortest, longest, others):
            self._roster.set_state(member, MemberState.DEAD, now)
        elif member.probe is None or now - member.probe.began >= self._timings.period_s:
            member.probe = None
            self.probe(member, now)

    def _suspect(self, member: Member, now: float) -> None:
        self._roster.set_state(member, MemberState.SUSPECT, now)
        member.suspicion = Suspicion(now)
        notice = Suspect(node=member.node, boot_id=member.boot_id, incarnation=member.incarnation)
        self._out.append(Send(member.address, member.gossip_port, notice))
        if self.uses_multicast:
            self._out.append(Multicast("gossip", notice))
        else:
            for other in self._roster.sample(self._rng, SUSPECTS_TOLD, without=member.node):
                self._out.append(Send(other.address, other.gossip_port, notice))

    def _ask_helpers(self, member: Member, sequence: int) -> None:
        for helper in self._roster.sample(self._rng, HELPERS, without=member.node):
            request = PingRequest(to=helper.node, target=member.node, sequence=sequence)
            self._out.append(Send(helper.address, helper.gossip_port, request))

    def _excuse(self, late: float, now: float) -> None:
        for member in self._roster:
            member.heard_at = min(now, member.heard_at + late)
            if member.probe is not None:
                member.probe.began += late
            if member.suspicion is not None:
                member.suspicion.since += late
