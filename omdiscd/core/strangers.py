"""Senders that are authentic but not known to live, and the checks on what they say of themselves.

Owns challenging and answering, for future members and for rivals alike. Never makes a member: it says who
passed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omdiscd.core.challenges import Challenges
from omdiscd.core.effects import Effect, Send
from omdiscd.core.speech import Speech
from omdiscd.wire.header import Header
from omdiscd.wire.messages import Announce, Answer, Challenge, Leave, Message

if TYPE_CHECKING:
    from random import Random

NumberOf = Callable[[int], int | None]
"""From an address to the node number it must have; None: no node of this cluster."""


@dataclass(frozen=True)
class Source:
    """Where a datagram came from: IPv4 as an integer, UDP port."""

    address: int
    port: int


class Strangers:
    """Challenges unknown boot ids through `out`, and counts those that say what is not true."""

    def __init__(
        self, speech: Speech, number_of: NumberOf, rng: Random, out: list[Effect], counts: Counter[str]
    ) -> None:
        self._speech = speech
        self._number_of = number_of
        self._challenges = Challenges(rng)
        self._out = out
        self._counts = counts

    def hear(self, header: Header, message: Message, source: Source, now: float) -> Announce | None:
        """Take in a message under an unknown boot id; the announcement of the sender once it has passed."""
        if isinstance(message, Answer):
            if not self._challenges.passes(header.node, header.boot_id, message.nonce, now):
                self._counts["stale_answer"] += 1
                return None
            return message.announce if self.is_true(message.announce, header.node, source) else None
        if isinstance(message, Leave):
            return None
        if isinstance(message, Challenge):
            self.answer(header.node, message.nonce, source, now)
        self.challenge(header.node, header.boot_id, source, now)
        return None

    def challenge(self, node: int, boot_id: bytes, source: Source, now: float) -> None:
        """Ask that boot id to show that it lives, unless it was asked just now."""
        nonce = self._challenges.give(node, boot_id, now)
        if nonce is not None:
            self._counts["challenged"] += 1
            self._out.append(Send(source.address, source.port, Challenge(to=node, nonce=nonce)))

    def answer(self, node: int, nonce: bytes, source: Source, now: float) -> None:
        """Show that this node lives, within the limit of answers per second."""
        if self._challenges.may_answer(now):
            answer = Answer(to=node, nonce=nonce, announce=self._speech.announcement(now))
            self._out.append(Send(source.address, source.port, answer))

    def is_true(self, announce: Announce, node: int, source: Source) -> bool:
        """Whether an announcement fits the address it came from and the number its sender uses."""
        if source.address not in announce.addresses:
            self._counts["wrong_source"] += 1
            return False
        if self._number_of(announce.addresses[0]) != node:
            self._counts["wrong_number"] += 1
            return False
        return True
