"""Gossip: which load vectors a node sends when and to whom, and what it keeps of those it gets.

One period is fixed; only its phase is random, since strictly periodic senders spread news faster than
jittered ones. Entries carry ages instead of clock readings. A message holds the newest entries first and a
few of the others in turn, so that nobody is forgotten; with push-pull the receiver answers in kind. The
table is capped; entries that cannot be true are kept apart and never passed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter

import msgspec

from balancer.draw import Draw
from balancer.vector import Aged, LoadEntry, absurdity

FORGET_S = 120.0  # entries older than this leave the table
MAX_ABSURD = 256

_birth = itemgetter(1)


class GossipPlan(msgspec.Struct, frozen=True):
    """How to gossip.

    `window` newest entries and `oldest` of the others go into one message, the own entry included.
    """

    period_s: float = 1.0
    fan_out: int = 1
    window: int = 24
    oldest: int = 8
    push_pull: bool = True
    cap: int = 4096  # entries kept; the oldest goes first
    own_only: bool = False  # tell only about oneself, as openMosix did
    urgent: bool = False  # a node that has just become idle tells a few others at once
    heard_first: bool = False  # the second message goes to a node recently heard of, as openMosix did

    def __post_init__(self) -> None:
        if self.period_s <= 0 or self.fan_out < 1 or self.window < 1 or self.oldest < 0 or self.cap < 1:
            raise ValueError("a gossip plan needs a positive period, fan-out, window and cap")


# openMosix told only about itself, to two nodes a second, and remembered the last seven that it heard of.
OPENMOSIX_PLAN = GossipPlan(fan_out=2, window=1, oldest=0, push_pull=False, cap=7, own_only=True, heard_first=True)


class Gossip:
    """One node's side. Times are monotonic seconds of its own; nothing here sends or receives."""

    def __init__(self, own: int, plan: GossipPlan, phase: float = 0.0) -> None:
        """`phase` is the share of a period (0..1) before the first message after the first tick."""
        self.own = own
        self.plan = plan
        self.entry: LoadEntry | None = None
        self.table: dict[int, tuple[LoadEntry, float]] = {}  # node -> entry, time of its birth by our clock
        self.absurd: dict[int, tuple[LoadEntry, str, float]] = {}
        self.refute: int = 0  # a stamp of ours, newer than what we say, that somebody still passes on
        self._phase = phase
        self._next_at: float | None = None
        self._born = 0.0
        self._turn = 0

    def publish(self, entry: LoadEntry, now: float) -> None:
        """Take the own entry, valid as of now."""
        self.entry = entry
        self._born = now

    def due(self, now: float) -> bool:
        """True once in a period. A clock that jumps ahead makes one message, not many; a jump back restarts
        the period.
        """
        period = self.plan.period_s
        if self._next_at is None or self._next_at - now > period:
            self._next_at = now + self._phase * period
        if now < self._next_at:
            return False
        self._next_at += period
        if self._next_at <= now:
            self._next_at = now + period
        return True

    def merge(self, entries: Iterable[Aged], now: float, transit_s: float = 0.0) -> list[LoadEntry]:
        """Keep what is newer than what is known; returns that. Absurd entries go to `absurd` instead."""
        table = self.table
        arrived = now - transit_s
        news: list[LoadEntry] = []
        for entry, age_s in entries:
            node = entry.node
            known = table.get(node)
            if known is not None and entry.stamp <= known[0].stamp:
                continue
            if node == self.own:
                if self.entry is not None and entry.stamp > self.entry.stamp:
                    self.refute = max(self.refute, entry.stamp)
                continue
            if age_s > FORGET_S:
                continue
            reason = absurdity(entry)
            if reason:
                if node in self.absurd or len(self.absurd) < MAX_ABSURD:
                    self.absurd[node] = (entry, reason, arrived - age_s)
                continue
            if known is None and len(table) >= self.plan.cap and not self._make_room(arrived - age_s):
                continue
            table[node] = (entry, arrived - age_s)
            if self.absurd:
                self.absurd.pop(node, None)
            news.append(entry)
        return news

    def _make_room(self, born: float) -> bool:
        """Forget the oldest entry when it is older than one born at `born`."""
        oldest = min(self.table.items(), key=lambda item: item[1][1])
        if oldest[1][1] >= born:
            return False
        del self.table[oldest[0]]
        return True

    def message(self, now: float) -> list[Aged]:
        """The entries to send now, the own one first, then from new to old."""
        plan = self.plan
        own: list[Aged] = [] if self.entry is None else [(self.entry, max(0.0, now - self._born))]
        if plan.own_only:
            return own
        room = plan.window - 1
        if len(self.table) <= room + plan.oldest:
            return own + [(entry, now - born) for entry, born in self.table.values()]
        ordered = sorted(self.table.values(), key=_birth, reverse=True)
        chosen = ordered[:room]
        rest = ordered[room:]
        if plan.oldest and rest:
            start = self._turn % len(rest)
            chosen += (rest + rest)[start : start + min(plan.oldest, len(rest))]
            self._turn = (start + plan.oldest) % len(rest)
        return own + [(entry, now - born) for entry, born in chosen]

    def urgent(self, now: float) -> list[Aged]:
        """Only the own entry, for news that cannot wait for the period."""
        return [] if self.entry is None else [(self.entry, max(0.0, now - self._born))]

    def targets(self, members: Sequence[int], draw: Draw) -> list[int]:
        """Whom to send to in this period, out of `members` (this node not among them)."""
        count = self.plan.fan_out
        if not members:
            return []
        if self.plan.heard_first and self.table:
            heard = list(self.table)
            chosen = {members[draw.below(len(members))], heard[draw.below(len(heard))]}
            return sorted(chosen)
        if count == 1:
            return [members[draw.below(len(members))]]
        return draw.sample(members, count)

    def forget(self, node: int) -> None:
        """A member left or died."""
        self.table.pop(node, None)
        self.absurd.pop(node, None)

    def expire(self, now: float) -> None:
        """Drop what is too old to be of any use."""
        old = [node for node, (_, born) in self.table.items() if now - born > FORGET_S]
        for node in old:
            del self.table[node]
        for node in [node for node, (_, _, born) in self.absurd.items() if now - born > FORGET_S]:
            del self.absurd[node]
