"""Membership of one node: what it hears and when it speaks.

The heart of the daemon's pure core. Authentic messages and clock readings go in, effects come out; see
`effects`. A sender whose boot id is not known is challenged first and changes nothing until it answered.
Never parses bytes and never reads a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import msgspec

from omdiscd.core.challenges import Challenges
from omdiscd.core.claim import REPORT_S, Claim, ClaimState, Rival
from omdiscd.core.digest import Hearsay
from omdiscd.core.effects import Effect, Report, Send
from omdiscd.core.failure_detector import FailureDetector
from omdiscd.core.member import Member, MemberState, Timings
from omdiscd.core.replay_window import ReplayWindow
from omdiscd.core.roster import Roster
from omdiscd.core.speech import Channels, Speech
from omdiscd.wire.header import Header
from omdiscd.wire.messages import (
    Ack,
    Announce,
    Answer,
    Challenge,
    Conflict,
    Digest,
    Gossip,
    Leave,
    Message,
    Ping,
    PingRequest,
    Pulse,
    Suspect,
)

NumberOf = Callable[[int], int | None]
"""From an address to the node number it must have; None: no node of this cluster."""


@dataclass(frozen=True)
class Source:
    """Where a datagram came from: IPv4 as an integer, UDP port."""

    address: int
    port: int


class Discovery:
    """One node's membership. `me` is its announcement, `boot_id` of this start of its daemon."""

    def __init__(
        self,
        node: int,
        boot_id: bytes,
        me: Announce,
        number_of: NumberOf,
        rng: Random,
        now: float,
        timings: Timings | None = None,
        seeds: tuple[tuple[int, int], ...] = (),
        uses_multicast: bool = True,
    ) -> None:
        timings = timings or Timings()
        self.node = node
        self.boot_id = boot_id
        self.counts: Counter[str] = Counter()
        self._out: list[Effect] = []
        self.roster = Roster(self._out)
        self.claim = Claim(boot_id, timings.joining_s, now)
        self.detector = FailureDetector(node, self.roster, timings, rng, self._out, now)
        self.detector.uses_multicast = uses_multicast
        self._hearsay = Hearsay(node, self.roster, self.detector, timings)
        channels = Channels(tuple(seeds), uses_multicast)
        self.speech = Speech(self.claim, self.roster, self._hearsay, me, channels, timings, rng, self._out, now)
        self._number_of = number_of
        self._timings = timings
        self._challenges = Challenges(rng)

    def start(self, now: float) -> list[Effect]:
        """Say for the first time that this node is there."""
        self.speech.announce(now)
        return self._drain()

    def tick(self, now: float, expected_s: float) -> list[Effect]:
        """Do what is due; call it about four times a period. `expected_s`: the usual time between two
        calls.
        """
        self.detector.tick(now, expected_s)
        self._judge_claim(now)
        self.speech.tick(now)
        self.roster.forget(now - self._timings.forget_s)
        return self._drain()

    def interfaces_changed(self, addresses: tuple[int, ...], now: float) -> list[Effect]:
        """Take note of the addresses this node has now, primary first, and announce them."""
        self.speech.me = msgspec.structs.replace(self.speech.me, addresses=addresses)
        self.speech.announce(now)
        return self._drain()

    def leave(self, now: float) -> list[Effect]:
        """Say that this node goes. Nothing may be sent afterwards."""
        self.speech.leave()
        return self._drain()

    def receive(self, header: Header, message: Message, source: Source, now: float) -> list[Effect]:
        """Take in one authentic message. Raises nothing for any message another node could send."""
        to = getattr(message, "to", self.node)
        if header.boot_id == self.boot_id:
            self.counts["own"] += 1
        elif to != self.node:
            self.counts["misdirected"] += 1
        elif header.node == self.node:
            self._from_rival(header, message, source, now)
        else:
            self._from_node(header, message, source, now)
        return self._drain()

    # --- members ---

    def _from_node(self, header: Header, message: Message, source: Source, now: float) -> None:
        member = self.roster.get(header.node)
        if member is None or member.boot_id != header.boot_id:
            self._from_unknown(header, message, source, now)
            return
        if not member.window.accept(header.counter):
            self.counts["replayed"] += 1
            return
        if member.state is MemberState.LEFT:
            return
        if isinstance(message, Announce):
            if not self._is_true(message, header.node, source):
                return
            self._update(member, message, now)
        elif source.address not in member.addresses:
            self.counts["wrong_source"] += 1
            return
        self.detector.heard(member, now, now)
        self._from_member(member, message, source, now)

    def _from_member(self, member: Member, message: Message, source: Source, now: float) -> None:
        match message:
            case Pulse():
                self._hold(member, message.incarnation, message.active_ms, now)
                self.speech.payload.absorb(member.node, message.payload, now)
            case Gossip():
                self._hold(member, message.incarnation, message.active_ms, now)
                self.speech.payload.absorb(member.node, message.payload, now)
                if message.wants_answer and self.claim.state is ClaimState.ACTIVE:
                    self.speech.gossip_to(member.node, source.address, source.port, False, now)
            case Digest():
                for entry in self._hearsay.absorb(message.entries, now):
                    self._challenge(entry.node, entry.boot_id, Source(entry.address, entry.gossip_port), now)
                if message.wants_answer:
                    self.speech.digest_to(member.node, source.address, source.port, False, now)
            case Leave():
                self.roster.set_state(member, MemberState.LEFT, now)
            case Challenge():
                self._answer(member.node, message.nonce, source, now)
            case Ping():
                ack = Ack(member.node, message.asker, self.node, self.boot_id, message.sequence)
                self._send(source, ack)
            case PingRequest():
                self._ping_for(member, message)
            case Ack():
                self._acknowledged(message, now)
            case Suspect():
                self._suspected(member, message, source, now)
            case _:
                pass

    def _hold(self, member: Member, incarnation: int, active_ms: int, now: float) -> None:
        member.incarnation = max(member.incarnation, incarnation)
        if active_ms:
            member.active_since = now - active_ms / 1000
            if member.state is MemberState.JOINING:
                self.roster.set_state(member, MemberState.ALIVE, now)
        elif member.is_present:
            self.roster.set_state(member, MemberState.JOINING, now)

    def _update(self, member: Member, announce: Announce, now: float) -> None:
        member.addresses = announce.addresses
        member.gossip_port, member.peer_port = announce.gossip_port, announce.peer_port
        member.name, member.version = announce.name, announce.version
        self._hold(member, announce.incarnation, announce.active_ms, now)

    def _is_true(self, announce: Announce, node: int, source: Source) -> bool:
        if source.address not in announce.addresses:
            self.counts["wrong_source"] += 1
            return False
        if self._number_of(announce.addresses[0]) != node:
            self.counts["wrong_number"] += 1
            return False
        return True

    def _ping_for(self, asker: Member, request: PingRequest) -> None:
        target = self.roster.get(request.target)
        if target is not None and target.node != asker.node:
            ping = Ping(to=target.node, asker=asker.node, sequence=request.sequence)
            self._out.append(Send(target.address, target.gossip_port, ping))

    def _acknowledged(self, ack: Ack, now: float) -> None:
        if ack.asker == self.node:
            self.detector.acknowledged(ack.node, ack.boot_id, ack.sequence, now)
            return
        asker = self.roster.get(ack.asker)
        if asker is not None:
            self._out.append(Send(asker.address, asker.gossip_port, msgspec.structs.replace(ack, to=asker.node)))

    def _suspected(self, accuser: Member, notice: Suspect, source: Source, now: float) -> None:
        if notice.node == self.node:
            if notice.boot_id == self.boot_id:
                self.speech.refute(notice.incarnation, source.address, source.port, now)
            return
        member = self.roster.get(notice.node)
        if member is not None and member.boot_id == notice.boot_id:
            self.detector.accused(member, accuser.node, notice.incarnation, now)

    # --- strangers: authentic, but not known to live ---

    def _from_unknown(self, header: Header, message: Message, source: Source, now: float) -> None:
        if isinstance(message, Answer):
            if self._challenges.passes(header.node, header.boot_id, message.nonce, now):
                self._admit(header, message.announce, source, now)
            else:
                self.counts["stale_answer"] += 1
            return
        if isinstance(message, Challenge):
            self._answer(header.node, message.nonce, source, now)
        self._challenge(header.node, header.boot_id, source, now)

    def _challenge(self, node: int, boot_id: bytes, source: Source, now: float) -> None:
        nonce = self._challenges.give(node, boot_id, now)
        if nonce is not None:
            self.counts["challenged"] += 1
            self._send(source, Challenge(to=node, nonce=nonce))

    def _answer(self, node: int, nonce: bytes, source: Source, now: float) -> None:
        if self._challenges.may_answer(now):
            self._send(source, Answer(to=node, nonce=nonce, announce=self.speech.announcement(now)))

    def _admit(self, header: Header, announce: Announce, source: Source, now: float) -> None:
        if not self._is_true(announce, header.node, source):
            return
        active_since = now - announce.active_ms / 1000
        known = self.roster.get(header.node)
        holder = known if known is not None and known.is_present else None
        if (
            holder is not None
            and holder.address != announce.addresses[0]
            and (not announce.active_ms or active_since > holder.active_since)
        ):
            self.counts["latecomer"] += 1
            return
        member = Member(
            node=header.node,
            boot_id=header.boot_id,
            addresses=announce.addresses,
            gossip_port=announce.gossip_port,
            peer_port=announce.peer_port,
            name=announce.name,
            version=announce.version,
            incarnation=announce.incarnation,
            state=MemberState.ALIVE if announce.active_ms else MemberState.JOINING,
            heard_at=now,
            state_since=now,
            active_since=active_since,
            window=ReplayWindow(header.counter),
        )
        if not self.roster.put(member):
            self.counts["table_full"] += 1

    # --- others that use this node's number ---

    def _from_rival(self, header: Header, message: Message, source: Source, now: float) -> None:
        if source.address in self.speech.me.addresses:
            self.counts["own"] += 1
            return
        rival = self.claim.rivals.get(header.boot_id)
        if rival is None:
            self._from_unknown_rival(header, message, source, now)
            return
        if not rival.window.accept(header.counter):
            self.counts["replayed"] += 1
            return
        if isinstance(message, Leave):
            self.claim.drop(header.boot_id)
        elif isinstance(message, Challenge):
            self._answer(header.node, message.nonce, source, now)
        else:
            facts = message.announce if isinstance(message, Answer | Conflict) else message
            active_ms = getattr(facts, "active_ms", None)
            if active_ms is not None:
                rival.active_s = active_ms / 1000
            rival.heard_at = now
            if not isinstance(message, Conflict):
                self._object(rival, now)
        self._judge_claim(now)

    def _from_unknown_rival(self, header: Header, message: Message, source: Source, now: float) -> None:
        if isinstance(message, Challenge):
            self._answer(header.node, message.nonce, source, now)
        elif isinstance(message, Answer) and self._challenges.passes(header.node, header.boot_id, message.nonce, now):
            if not self._is_true(message.announce, header.node, source):
                return
            active_s = message.announce.active_ms / 1000
            window = ReplayWindow(header.counter)
            rival = Rival(header.boot_id, source.address, source.port, window, active_s, now)
            if self.claim.add(rival):
                self._object(rival, now)
                self._judge_claim(now)
            return
        self._challenge(header.node, header.boot_id, source, now)

    def _object(self, rival: Rival, now: float) -> None:
        if now - rival.reported_at >= REPORT_S:
            rival.reported_at = now
            facts = (("node", self.node), ("address", rival.address))
            self._out.append(Report("warning", "membership.collision", facts))
        if now - rival.answered_at >= self._timings.period_s:
            rival.answered_at = now
            conflict = Conflict(to=self.node, boot_id=rival.boot_id, announce=self.speech.announcement(now))
            self._out.append(Send(rival.address, rival.gossip_port, conflict))

    def _judge_claim(self, now: float) -> None:
        if self.claim.judge(now):
            facts = (("node", self.node), ("state", self.claim.state.value))
            self._out.append(Report("info", "membership.claim", facts))
            self.speech.announce(now)

    def _send(self, source: Source, message: Message) -> None:
        self._out.append(Send(source.address, source.port, message))

    def _drain(self) -> list[Effect]:
        effects = self._out[:]
        self._out.clear()
        return effects
