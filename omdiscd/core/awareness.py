"""How healthy this node itself is, and so how patient it must be with others.

A node that is slow, or loses datagrams, hears from nobody in time and would call everybody else dead. Its
own score rises with every such sign and multiplies its timeouts. Source: the Lifeguard paper (arXiv
1707.00788), section IV-A.
"""

from __future__ import annotations

SCORE_MAX = 8
"""Highest score, and so the most that timeouts are multiplied with."""
RECOVERY_S = 30.0
"""Time without a bad sign after which the score falls by one."""


class Awareness:
    """The score, 0 (healthy) to SCORE_MAX."""

    def __init__(self, now: float) -> None:
        self.score = 0
        self._last_sign = now

    @property
    def factor(self) -> int:
        """What to multiply own timeouts with, 1 to SCORE_MAX: one sign alone may be chance."""
        return max(1, self.score)

    def bad_sign(self, now: float, weight: int = 1) -> None:
        """Take note of a late timer, or of a suspicion that proved false."""
        self.score = min(SCORE_MAX, self.score + weight)
        self._last_sign = now

    def tick(self, now: float) -> None:
        """Let the score fall with time."""
        if self.score and now - self._last_sign >= RECOVERY_S:
            self.score -= 1
            self._last_sign = now
