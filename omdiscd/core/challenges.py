"""Challenges to unknown boot ids, and how many this node gives and answers.

An authentic datagram under a boot id that is not known may be a recording of a daemon long gone. Before it
counts, its sender must send a fresh random number back. Owns the open challenges, with their caps; answers
carry the counter below which everything of that boot id is old.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

OPEN_MAX = 512
"""Challenges open at a time; a cluster of 1000 that starts at once needs a few rounds."""
PATIENCE_S = 3.0
"""How long an answer is waited for."""
REPEAT_S = 0.5
"""Shortest time between two challenges to one boot id."""
ANSWERS_PER_S = 500
"""Challenges answered in a second; an answer is small and goes to whoever proved to hold the key."""


@dataclass(slots=True)
class _Open:
    nonce: bytes
    began: float
    sent: float


class Challenges:
    """Open challenges by (node, boot id)."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._open: dict[tuple[int, bytes], _Open] = {}
        self._answered_in_second = 0
        self._second = -1

    def give(self, node: int, boot_id: bytes, now: float) -> bytes | None:
        """Return the nonce to send to that boot id, None when it should not be asked (again) now."""
        sender = (node, boot_id)
        known = self._open.get(sender)
        if known is not None and now - known.began <= PATIENCE_S:
            if now - known.sent < REPEAT_S:
                return None
            known.sent = now
            return known.nonce
        if known is None and len(self._open) >= OPEN_MAX and not self._drop_old(now):
            return None
        self._open[sender] = _Open(self._rng.randbytes(16), now, now)
        return self._open[sender].nonce

    def passes(self, node: int, boot_id: bytes, nonce: bytes, now: float) -> bool:
        """Whether `nonce` answers an open challenge; the challenge is then closed."""
        known = self._open.get((node, boot_id))
        if known is None or known.nonce != nonce or now - known.began > PATIENCE_S:
            return False
        del self._open[(node, boot_id)]
        return True

    def may_answer(self, now: float) -> bool:
        """Count one answer and say whether it is still within the limit of this second."""
        second = int(now)
        if second != self._second:
            self._second, self._answered_in_second = second, 0
        self._answered_in_second += 1
        return self._answered_in_second <= ANSWERS_PER_S

    def _drop_old(self, now: float) -> bool:
        old = [sender for sender, known in self._open.items() if now - known.began > PATIENCE_S]
        for sender in old:
            del self._open[sender]
        return bool(old)
