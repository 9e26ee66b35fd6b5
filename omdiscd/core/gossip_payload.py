"""What travels with pulses and gossip besides membership: the load of nodes, as bytes nobody here reads.

Owns the seam to the balancer only. Implementations must be quick and must not raise on any bytes.
"""

from __future__ import annotations

from typing import Protocol


class GossipPayload(Protocol):
    """Both ends of the load gossip of one node."""

    def encode_own(self, now: float) -> bytes:
        """Return this node's own entry, at most 1300 bytes; sent to everybody once a period."""
        ...

    def encode_vector(self, now: float) -> bytes:
        """Return the newest entries, at most 1300 bytes; exchanged with one random member once a period."""
        ...

    def absorb(self, sender: int, payload: bytes, now: float) -> None:
        """Take in what another node sent, which it encoded a moment ago."""
        ...


class NoPayload:
    """The payload of a daemon without a balancer."""

    def encode_own(self, now: float) -> bytes:
        """Return nothing."""
        return b""

    def encode_vector(self, now: float) -> bytes:
        """Return nothing."""
        return b""

    def absorb(self, sender: int, payload: bytes, now: float) -> None:
        """Ignore everything."""
