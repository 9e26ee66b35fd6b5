"""The sliding window that lets each datagram of a sender count once.

Owns which counters of one (node, boot id) were seen. Counters may arrive out of order within the window;
older ones count as seen. Source: RFC 4303 section 3.4.3, with a window of 1024.
"""

from __future__ import annotations

WINDOW_BITS = 1024
"""Counters of a sender that may overtake each other; at 20 datagrams a second, 50 seconds."""

_MASK = (1 << WINDOW_BITS) - 1


class ReplayWindow:
    """Counters seen of one sender. Everything up to `floor` counts as seen from the start."""

    def __init__(self, floor: int = 0) -> None:
        self._newest = floor
        self._seen = _MASK

    @property
    def newest(self) -> int:
        """The highest counter accepted."""
        return self._newest

    def accept(self, counter: int) -> bool:
        """Mark `counter` as seen; False when it was, or is too old to tell."""
        ahead = counter - self._newest
        if ahead > 0:
            self._seen = ((self._seen << ahead) | 1) & _MASK if ahead < WINDOW_BITS else 1
            self._newest = counter
            return True
        if ahead <= -WINDOW_BITS:
            return False
        bit = 1 << -ahead
        if self._seen & bit:
            return False
        self._seen |= bit
        return True
