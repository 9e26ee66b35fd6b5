"""The status bits of a node: what `nodes/N/status`, `mosctl status` and gossip say about it.

Owns the bit values of openMosix (openmosix.md 4.6) and their words. Knows nothing of how nodes are reached.
"""

from __future__ import annotations

from omdiscd.core.admin import AdminSettings

CONFIGURED = 1
UP = 2
STAY = 4
LSTAY = 8
BLOCK = 16
QUIET = 32
NOMFS = 64

NOT_CONFIGURED_ANSWER = -6
"""Read from `nodes/N/*` for a node that is not in the map (-ENXIO in the original)."""
SILENT_ANSWER = -101
"""Read from `nodes/N/*` for a configured node that gives no answer (-ENETUNREACH in the original)."""

_FLAGS = (("stay", STAY), ("lstay", LSTAY), ("block", BLOCK), ("quiet", QUIET), ("nomfs", NOMFS))


def own_status(settings: AdminSettings) -> int:
    """Status bits of a running node with these settings. A draining node blocks arrivals as well."""
    bits = CONFIGURED | UP
    for name, bit in _FLAGS:
        if getattr(settings, name):
            bits |= bit
    if settings.drain:
        bits |= BLOCK
    return bits


def status_words(bits: int) -> list[str]:
    """`up` or `down`, then the switches that are on, in the order of `mosctl status`."""
    return ["up" if bits & UP else "down", *(name for name, bit in _FLAGS if bits & bit)]
