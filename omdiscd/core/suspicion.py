"""How long a silent member stays suspect before it counts as dead.

The more nodes independently say that they do not hear it either, the sooner. Source: the Lifeguard paper
(arXiv 1707.00788), section IV-B: timeout = max - (max - min) * log(c + 1) / log(k + 1).
"""

from __future__ import annotations

import math

CONFIRMATIONS_WANTED = 3
"""k of the formula: with this many confirmations the shortest time holds."""


def timeout_s(confirmations: int, min_s: float, max_s: float, wanted: int = CONFIRMATIONS_WANTED) -> float:
    """Return how long a suspicion lasts in all; between `min_s` and `max_s`.

    `wanted` 0 means that there is nobody else to ask: half as long again as the shortest time.
    """
    if wanted <= 0:
        return min(max_s, 1.5 * min_s)
    share = math.log(confirmations + 1) / math.log(wanted + 1)
    return max(min_s, max_s - (max_s - min_s) * share)


class Suspicion:
    """One suspicion: since when, and who confirmed it."""

    def __init__(self, now: float) -> None:
        self.since = now
        self._confirmed_by: set[int] = set()

    def confirm(self, node: int) -> None:
        """Count `node` as one that does not hear the member either; once each, at most as many as matter."""
        if len(self._confirmed_by) < CONFIRMATIONS_WANTED:
            self._confirmed_by.add(node)

    def is_over(self, now: float, min_s: float, max_s: float, others: int) -> bool:
        """Whether the member counts as dead by now, when `others` further members could have confirmed."""
        wanted = min(CONFIRMATIONS_WANTED, others)
        return now - self.since >= timeout_s(len(self._confirmed_by), min_s, max_s, wanted)
