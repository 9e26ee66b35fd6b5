"""The claim of this node to its number, and other nodes that claim the same.

A node number follows from an address, so two hosts of different networks can arrive at the same. The later
one stays out: a node that starts yields to one that holds the number; of two that held it apart, the longer
holder keeps it; and when that is too close to call, the smaller boot id. A node that is out goes on looking
and takes the number when it is free. Never trusts a recording: rivals are admitted by challenge like every
other boot id.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from omdiscd.core.replay_window import ReplayWindow

RIVALS_MAX = 8
"""Rivals kept at a time; a further one is looked at when one of these is gone."""
RIVAL_FRESH_S = 8.0
"""Silence after which a rival no longer holds the number."""
TOO_CLOSE_S = 2.0
"""Ages of two claims that differ by less are not compared: a datagram takes time, too."""
REPORT_S = 60.0
"""Shortest time between two reports of the same rival."""


class ClaimState(Enum):
    """How this node stands to its number."""

    JOINING = "joining"
    ACTIVE = "active"
    OUT = "out"


@dataclass(slots=True)
class Rival:
    """Another host that uses this node's number."""

    boot_id: bytes
    address: int
    gossip_port: int
    window: ReplayWindow
    active_s: float
    """For how long it held the number when last heard; 0 while it does not."""
    heard_at: float
    reported_at: float = float("-inf")
    answered_at: float = float("-inf")

    def age(self, now: float) -> float:
        """For how long it holds the number by now; 0 while it does not."""
        return self.active_s + (now - self.heard_at) if self.active_s else 0.0


class Claim:
    """State of the own number. `judge` must run after every change and at every tick."""

    def __init__(self, boot_id: bytes, joining_s: float, now: float) -> None:
        self.state = ClaimState.JOINING
        self.rivals: dict[bytes, Rival] = {}
        self._boot_id = boot_id
        self._joining_s = joining_s
        self._joining_until = now + joining_s
        self._active_since = now

    def active_ms(self, now: float) -> int:
        """How long this node has held its number, at least 1 while it does, 0 while it does not."""
        return max(1, int((now - self._active_since) * 1000)) if self.state is ClaimState.ACTIVE else 0

    def add(self, rival: Rival) -> bool:
        """Take a rival in; False when the table is full."""
        if rival.boot_id not in self.rivals and len(self.rivals) >= RIVALS_MAX:
            return False
        self.rivals[rival.boot_id] = rival
        return True

    def drop(self, boot_id: bytes) -> None:
        """Forget a rival that left."""
        self.rivals.pop(boot_id, None)

    def winner(self, now: float) -> Rival | None:
        """Return the rival this node yields to, None when there is none."""
        return next((rival for rival in self.rivals.values() if self._yields_to(rival, now)), None)

    def judge(self, now: float) -> bool:
        """Bring the state up to date; True when it changed."""
        before = self.state
        for boot_id in [b for b, rival in self.rivals.items() if now - rival.heard_at > RIVAL_FRESH_S]:
            del self.rivals[boot_id]
        if self.winner(now) is not None:
            self.state = ClaimState.OUT
        elif self.state is ClaimState.OUT:
            self.state = ClaimState.JOINING
            self._joining_until = now + self._joining_s
        elif self.state is ClaimState.JOINING and now >= self._joining_until:
            self.state = ClaimState.ACTIVE
            self._active_since = now
        return self.state is not before

    def _yields_to(self, rival: Rival, now: float) -> bool:
        mine, theirs = self.active_ms(now) / 1000, rival.age(now)
        if bool(mine) != bool(theirs):
            return not mine
        if abs(mine - theirs) > TOO_CLOSE_S:
            return theirs > mine
        return rival.boot_id < self._boot_id
