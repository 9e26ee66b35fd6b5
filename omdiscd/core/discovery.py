"""Membership of one node: what it hears and when it speaks.

The heart of the daemon's pure core. Authentic messages and clock readings go in, effects come out; see
`effects`. A sender whose boot id is not known is challenged first and changes nothing until it answered.
Never parses bytes and never reads a clock.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from omdiscd.core.claim import Claim, ClaimState
from omdiscd.core.digest import Hearsay
from omdiscd.core.effects import Effect, Send
from omdiscd.core.failure_detector import FailureDetector
from omdiscd.core.member import Member, MemberState, Timings
from omdiscd.core.replay_window import ReplayWindow
from omdiscd.core.rivalry import Rivalry
from omdiscd.core.roster import Roster
from omdiscd.core.speech import Channels, Speech
from omdiscd.core.strangers import NumberOf, Source, Strangers
from omdiscd.wire.header import Header
from omdiscd.wire.messages import (
    Ack,
    Announce,
    Challenge,
    Digest,
    Gossip,
    Leave,
    Message,
    Ping,
    PingRequest,
    Pulse,
    Suspect,
)

if TYPE_CHECKING:
    from random import Random


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
        self._strangers = Strangers(self.speech, number_of, rng, self._out, self.counts)
        self._rivalry = Rivalry(node, self.claim, self.speech, self._strangers, self._out, self.counts)
        self._timings = timings

    def start(self, now: float) -> list[Effect]:
        """Say for the first time that this node is there."""
        self.speech.announce(now)
        return self._drain()

    def tick(self, now: float, expected_s: float) -> list[Effect]:
        """Do what is due; call it about four times a period. `expected_s`: the usual time between two
        calls.
        """
        self.detector.tick(now, expected_s)
        self._rivalry.judge(now)
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
            self._rivalry.hear(header, message, source, now)
        else:
            self._from_node(header, message, source, now)
        return self._drain()

    def _from_node(self, header: Header, message: Message, source: Source, now: float) -> None:
        member = self.roster.get(header.node)
        if member is None or member.boot_id != header.boot_id:
            announce = self._strangers.hear(header, message, source, now)
            if announce is not None:
                self._admit(header, announce, now)
            return
        if not member.window.accept(header.counter):
            self.counts["replayed"] += 1
            return
        if member.state is MemberState.LEFT:
            return
        if isinstance(message, Announce):
            if not self._strangers.is_true(message, header.node, source):
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
                    at = Source(entry.address, entry.gossip_port)
                    self._strangers.challenge(entry.node, entry.boot_id, at, now)
                if message.wants_answer:
                    self.speech.digest_to(member.node, source.address, source.port, False, now)
            case Leave():
                self.roster.set_state(member, MemberState.LEFT, now)
            case Challenge():
                self._strangers.answer(member.node, message.nonce, source, now)
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

    def _admit(self, header: Header, announce: Announce, now: float) -> None:
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

    def _send(self, source: Source, message: Message) -> None:
        self._out.append(Send(source.address, source.port, message))

    def _drain(self) -> list[Effect]:
        effects = self._out[:]
        self._out.clear()
        return effects
