"""What this node believes of its peers: the gossip, corrected by what it has asked and sent since, less
what it distrusts.
"""

from __future__ import annotations

from balancer.facts import PeerFacts
from balancer.gossip import Gossip
from balancer.load import EXPORT_MARGIN
from balancer.speed import STANDARD_SPEED
from balancer.trust import TrustBook
from balancer.vector import BLOCK, DRAINING, LoadEntry


class PeerBook:
    """Corrections to the gossip, and the facts that come out of both."""

    def __init__(self) -> None:
        self.told: dict[int, tuple[float, float]] = {}  # node -> load it told us itself (or we worked out), when
        self.floors: dict[int, float] = {}  # node -> load that our own processes alone make there

    def tell(self, node: int, load: float, now: float) -> None:
        """Take a load that is newer than any gossip heard so far; absurd ones are ignored."""
        if 0 <= load < 1e5:
            self.told[node] = (load, now)

    def load_of(self, node: int, gossip: Gossip) -> float:
        """The load believed of a node; 0 when it is unknown."""
        known = gossip.table.get(node)
        return self._load(node, known[0], known[1]) if known is not None else 0.0

    def _load(self, node: int, entry: LoadEntry, born: float) -> float:
        load = entry.load
        told = self.told.get(node)
        if told is not None:
            if told[1] > born:
                load = told[0]
            else:
                del self.told[node]
        return max(load, self.floors.get(node, 0.0)) if self.floors else load

    def facts(self, gossip: Gossip, trust: TrustBook, members: tuple[int, ...], now: float) -> tuple[PeerFacts, ...]:
        """Every living member of which something is known, the ones not believed with the reason why."""
        living = set(members)
        peers: list[PeerFacts] = []
        for node, (entry, born) in gossip.table.items():
            if node not in living:
                continue
            if entry.flags & (BLOCK | DRAINING):
                refuses = "takes no guests (block)" if entry.flags & BLOCK else "is being emptied"
            else:
                refuses = ""
            peers.append(
                _facts(
                    entry,
                    self._load(node, entry, born),
                    max(0.0, now - born),
                    refuses,
                    trust.reason(node, now),
                )
            )
        for node, (entry, reason, born) in gossip.absurd.items():
            if node not in living:
                continue
            if node not in gossip.table:
                peers.append(_facts(entry, entry.load, max(0.0, now - born), "", reason))
            else:
                peers = [_distrusted(peer, reason) if peer.node == node else peer for peer in peers]
        return tuple(peers)

    def forget(self, node: int) -> None:
        """A member left or died."""
        self.told.pop(node, None)
        self.floors.pop(node, None)


def _facts(entry: LoadEntry, load: float, age_s: float, refuses: str, distrust: str) -> PeerFacts:
    speed = entry.speed / STANDARD_SPEED
    if distrust:
        return PeerFacts(
            entry.node,
            load,
            0.0,
            speed,
            entry.cpus,
            entry.mem_total,
            entry.mem_free,
            age_s,
            refuses,
            distrust,
        )
    efficiency = min(1.0, max(0.05, entry.utilisability / (100 * entry.cpus)))
    exported = (entry.upper + EXPORT_MARGIN + max(0.0, load - entry.load)) * 100 / (speed * entry.cpus * efficiency)
    return PeerFacts(entry.node, load, exported, speed, entry.cpus, entry.mem_total, entry.mem_free, age_s, refuses)


def _distrusted(peer: PeerFacts, reason: str) -> PeerFacts:
    return PeerFacts(
        peer.node,
        peer.load,
        peer.exported_load,
        peer.speed,
        peer.cpus,
        peer.mem_total,
        peer.mem_free,
        peer.age_s,
        peer.refuses,
        reason,
    )
