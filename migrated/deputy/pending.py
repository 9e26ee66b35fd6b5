"""Signals are delivered once: what is in the image is not forwarded again.

A signal that was pending when the image was taken is restored with the body and is also still queued in the
original, where the deputy reads it. This filter drops it there. Timers that expire in the frozen original are the
body's own, which has its own copy of the timer: dropped too. Pure bookkeeping.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_SI_TIMER, _SI_KERNEL = -2, 0x80
_ITIMER_SIGNALS = frozenset({14, 26, 27})  # SIGALRM, SIGVTALRM, SIGPROF on x86-64


class PendingFilter:
    """Decides signal by signal, in the order in which the deputy forwards them."""

    def __init__(self, in_image: Iterable[int], at_hollowing: Iterable[tuple[int, int]] = ()) -> None:
        """`in_image`: signal numbers pending in the image; `at_hollowing`: (signal number, siginfo code) of those
        queued when the original was hollowed.
        """
        self._drop = Counter(in_image)
        self._timers = Counter(signo for signo, code in at_hollowing if is_timer(signo, code))

    def passes(self, signo: int, code: int) -> bool:
        """Whether the signal is new and must be forwarded."""
        if self._drop[signo] > 0:
            self._drop[signo] -= 1
            return False
        if is_timer(signo, code) and self._timers[signo] > 0:
            self._timers[signo] -= 1
            return False
        return True


def is_timer(signo: int, code: int) -> bool:
    """Whether a signal came from a timer of the process itself."""
    return code == _SI_TIMER or (code == _SI_KERNEL and signo in _ITIMER_SIGNALS)
