"""Dealing with other hosts that use this node's number.

Owns what is heard from rivals and said to them; who has to yield is decided by the claim.
"""

from __future__ import annotations

from collections import Counter

from omdiscd.core.claim import REPORT_S, Claim, Rival
from omdiscd.core.effects import Effect, Report, Send
from omdiscd.core.replay_window import ReplayWindow
from omdiscd.core.speech import Speech
from omdiscd.core.strangers import Source, Strangers
from omdiscd.wire.header import Header
from omdiscd.wire.messages import Answer, Challenge, Conflict, Leave, Message

OBJECTION_S = 1.0
"""Shortest time between two objections to the same rival."""


class Rivalry:
    """Hears messages whose sender has the number `node`, which is this node's own."""

    def __init__(
        self,
        node: int,
        claim: Claim,
        speech: Speech,
        strangers: Strangers,
        out: list[Effect],
        counts: Counter[str],
    ) -> None:
        self._node = node
        self._claim = claim
        self._speech = speech
        self._strangers = strangers
        self._out = out
        self._counts = counts

    def hear(self, header: Header, message: Message, source: Source, now: float) -> None:
        """Take in one message of a rival, and bring the claim up to date."""
        if source.address in self._speech.me.addresses:
            self._counts["own"] += 1  # this host, under another start of its daemon: a recording
            return
        rival = self._claim.rivals.get(header.boot_id)
        if rival is None:
            self._admit(header, message, source, now)
        elif rival.window.accept(header.counter):
            self._from_known(rival, message, source, now)
        else:
            self._counts["replayed"] += 1
            return
        self.judge(now)

    def judge(self, now: float) -> None:
        """Bring the claim up to date, and announce a change."""
        if self._claim.judge(now):
            facts = (("node", self._node), ("state", self._claim.state.value))
            self._out.append(Report("info", "membership.claim", facts))
            self._speech.announce(now)

    def _from_known(self, rival: Rival, message: Message, source: Source, now: float) -> None:
        if isinstance(message, Leave):
            self._claim.drop(rival.boot_id)
            return
        if isinstance(message, Challenge):
            self._strangers.answer(self._node, message.nonce, source, now)
            return
        facts = message.announce if isinstance(message, Answer | Conflict) else message
        active_ms = getattr(facts, "active_ms", None)
        if active_ms is not None:
            rival.active_s = active_ms / 1000
        rival.heard_at = now
        if not isinstance(message, Conflict):
            self._object(rival, now)

    def _admit(self, header: Header, message: Message, source: Source, now: float) -> None:
        announce = self._strangers.hear(header, message, source, now)
        if announce is None:
            return
        window = ReplayWindow(header.counter)
        active_s = announce.active_ms / 1000
        rival = Rival(header.boot_id, source.address, source.port, window, active_s, now)
        if self._claim.add(rival):
            self._object(rival, now)

    def _object(self, rival: Rival, now: float) -> None:
        if now - rival.reported_at >= REPORT_S:
            rival.reported_at = now
            facts = (("node", self._node), ("address", rival.address))
            self._out.append(Report("warning", "membership.collision", facts))
        if now - rival.answered_at >= OBJECTION_S:
            rival.answered_at = now
            conflict = Conflict(self._node, rival.boot_id, self._speech.announcement(now))
            self._out.append(Send(rival.address, rival.gossip_port, conflict))
