"""How long a node's load has lasted.

An imbalance that has just come up is likely to go again soon; one that has lasted is likely to last. For
every whole number of processes this remembers since when the load has not been lower.
"""

from __future__ import annotations

MAX_LEVELS = 256
SLACK = 0.25  # a load this much below a level still counts as at the level


class Steadiness:
    """Since when the load has been at least 1, 2, 3 ... processes."""

    def __init__(self) -> None:
        self._since: list[float] = []

    def observe(self, load: float, now: float) -> None:
        """Take the present load."""
        levels = min(int(load + SLACK), MAX_LEVELS)
        since = self._since
        if len(since) > levels:
            del since[levels:]
        while len(since) < levels:
            since.append(now)

    def lasted_s(self, now: float) -> float:
        """For how long the load has been at least what it is now; 0 without load."""
        return max(0.0, now - self._since[-1]) if self._since else 0.0
