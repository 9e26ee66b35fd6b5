"""The balancer's load vectors as the payload of the daemon's pulses and gossip."""

from __future__ import annotations

from collections.abc import Callable

from balancer.events import VectorReceived
from balancer.node import BalancerCore
from balancer.vector import VectorError, decode, encode

MAX_BYTES = 1300
_ENTRIES = 24


class LoadGossip:
    """A `GossipPayload` over one BalancerCore; `deliver` takes what arrived."""

    def __init__(self, core: BalancerCore, deliver: Callable[[VectorReceived, float], None]) -> None:
        self._core = core
        self._deliver = deliver
        self.refused = 0

    def encode_own(self, now: float) -> bytes:
        """Our own entry, for everybody."""
        entry = self._core.gossip.entry
        if entry is None or self._core.settings.quiet:
            return b""
        return encode(self._core.node, [(entry, 0.0)])

    def encode_vector(self, now: float) -> bytes:
        """The newest entries we have, for one member."""
        if self._core.gossip.entry is None or self._core.settings.quiet:
            return b""
        entries = list(self._core.gossip.message(now))[:_ENTRIES]
        data = encode(self._core.node, entries)
        while len(data) > MAX_BYTES and entries:
            entries.pop()
            data = encode(self._core.node, entries)
        return data

    def absorb(self, sender: int, payload: bytes, now: float) -> None:
        """Take what another node sent; nonsense is counted and dropped."""
        if not payload:
            return
        try:
            message = decode(payload)
        except VectorError:
            self.refused += 1
            return
        self._deliver(VectorReceived(sender, tuple(message.entries)), now)
