"""What this node says by itself, and when: announcements, pulses, gossip, farewell.

Owns the schedule. One pulse a period, with a random phase and no jitter, because strictly periodic senders
spread news fastest; announcements often at first and then rarely. Never sends: it says what is to be sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from omdiscd.core.claim import Claim, ClaimState
from omdiscd.core.digest import Hearsay
from omdiscd.core.effects import Effect, Multicast, Send
from omdiscd.core.gossip_payload import GossipPayload, NoPayload
from omdiscd.core.member import Member, Timings
from omdiscd.core.roster import Roster
from omdiscd.wire.messages import Announce, Digest, Gossip, Leave, Message, Pulse

if TYPE_CHECKING:
    from random import Random

EARLY_ANNOUNCEMENTS = 3
"""Announcements in quick succession after a start or a change, since any may be lost."""
EARLY_S = 0.3
OUT_S = 3.0
"""Between announcements of a node that waits for its number."""
FAN_OUT_UNICAST = 3
"""Members gossiped with in a period where there is no multicast."""
DIGEST_PERIODS = 5.0
"""Periods between digests where there is multicast, which makes them a mere repair."""
FAREWELLS_MAX = 64
"""Members told one by one that this node leaves, where there is no multicast."""


@dataclass(frozen=True)
class Channels:
    """How this node reaches others: `seeds` are (IPv4 as an integer, UDP port) told of it one by one."""

    seeds: tuple[tuple[int, int], ...] = ()
    uses_multicast: bool = True

    @property
    def is_broad(self) -> bool:
        """Whether one datagram reaches everybody; with seeds, it is not relied upon."""
        return self.uses_multicast and not self.seeds


class Speech:
    """The schedule of one node; `me` is its announcement without the parts that change."""

    def __init__(
        self,
        claim: Claim,
        roster: Roster,
        hearsay: Hearsay,
        me: Announce,
        channels: Channels,
        timings: Timings,
        rng: Random,
        out: list[Effect],
        now: float,
    ) -> None:
        self.me = me
        self.incarnation = 1
        self.payload: GossipPayload = NoPayload()
        self._claim = claim
        self._roster = roster
        self._hearsay = hearsay
        self._channels = channels
        self._timings = timings
        self._rng = rng
        self._out = out
        self._announcements = 0
        self._announce_at = now
        self._pulse_at = now + rng.random() * timings.period_s
        self._gossip_at = now + rng.random() * timings.period_s
        self._digest_at = now + rng.random() * timings.period_s

    def announcement(self, now: float) -> Announce:
        """Return what is to be known about this node by now."""
        return msgspec.structs.replace(
            self.me,
            incarnation=self.incarnation,
            active_ms=self._claim.active_ms(now),
            is_joining=self._claim.state is not ClaimState.ACTIVE,
        )

    def announce(self, now: float) -> None:
        """Announce now, and a few times more soon."""
        self._announcements = 0
        self._announce(now)

    def tick(self, now: float) -> None:
        """Say what is due."""
        if now >= self._announce_at:
            self._announce(now)
        if self._claim.state is not ClaimState.ACTIVE:
            return
        period_s = self._timings.period_s
        if now >= self._pulse_at:
            self._pulse_at = _next(self._pulse_at, period_s, now)
            self._pulse(now)
        if now >= self._gossip_at:
            self._gossip_at = _next(self._gossip_at, period_s, now)
            for member in self._partners():
                self.gossip_to(member.node, member.address, member.gossip_port, True, now)
        if now >= self._digest_at:
            periods = DIGEST_PERIODS if self._channels.is_broad else 1.0
            self._digest_at = _next(self._digest_at, periods * period_s, now)
            for member in self._partners():
                self.digest_to(member.node, member.address, member.gossip_port, True, now)

    def gossip_to(self, node: int, address: int, port: int, wants_answer: bool, now: float) -> None:
        """Send the load vector to one member; nothing when there is none and no answer is wanted."""
        payload = self.payload.encode_vector(now)
        if payload or not self._channels.is_broad:
            active_ms = self._claim.active_ms(now)
            message = Gossip(node, wants_answer, self.incarnation, active_ms, payload)
            self._out.append(Send(address, port, message))

    def digest_to(self, node: int, address: int, port: int, wants_answer: bool, now: float) -> None:
        """Send to one member what is known of the others."""
        message = Digest(node, wants_answer, self._hearsay.entries(now))
        self._out.append(Send(address, port, message))

    def refute(self, incarnation: int, address: int, port: int, now: float) -> None:
        """Answer the suspicion against this node, to the accuser and to everybody."""
        self.incarnation = max(self.incarnation, incarnation) + 1
        announcement = self.announcement(now)
        self._out.append(Send(address, port, announcement))
        self._multicast("gossip", announcement)

    def leave(self) -> None:
        """Say farewell."""
        message = Leave(self.incarnation)
        self._multicast("discovery", message)
        self._multicast("gossip", message)
        if not self._channels.is_broad:
            for member in self._roster.sample(self._rng, FAREWELLS_MAX):
                self._out.append(Send(member.address, member.gossip_port, message))
        for rival in self._claim.rivals.values():
            self._out.append(Send(rival.address, rival.gossip_port, message))

    def _announce(self, now: float) -> None:
        self._announcements += 1
        if self._announcements < EARLY_ANNOUNCEMENTS:
            wait_s = EARLY_S
        else:
            wait_s = OUT_S if self._claim.state is ClaimState.OUT else self._timings.announce_s
        self._announce_at = now + wait_s
        announcement = self.announcement(now)
        self._multicast("discovery", announcement)
        for address, port in self._channels.seeds:
            if address not in self.me.addresses:
                self._out.append(Send(address, port, announcement))
        for rival in self._claim.rivals.values():
            self._out.append(Send(rival.address, rival.gossip_port, announcement))

    def _pulse(self, now: float) -> None:
        pulse = Pulse(self.incarnation, self._claim.active_ms(now), self.payload.encode_own(now))
        self._multicast("gossip", pulse)

    def _partners(self) -> list[Member]:
        return self._roster.sample(self._rng, 1 if self._channels.is_broad else FAN_OUT_UNICAST)

    def _multicast(self, channel: Literal["discovery", "gossip"], message: Message) -> None:
        if self._channels.uses_multicast:
            self._out.append(Multicast(channel, message))


def _next(due: float, period_s: float, now: float) -> float:
    """Return the next time in step with `due`, left out what was missed."""
    due += period_s
    return due if due > now else now + period_s - (now - due) % period_s
