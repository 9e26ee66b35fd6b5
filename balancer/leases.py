"""Leases: a promise to take one process, given with the true load in view.

A target with stale fame would be stormed by everybody at once. So nobody moves a process without asking
first, and the target counts what it has promised as load. A lease that is not used lapses by itself. The
book is capped.
"""

from __future__ import annotations

import msgspec

from balancer.memory import RESERVE

MAX_PENDING = 2  # arrivals under way at one time
RISE = 0.5  # processes by which the load may exceed what the asker believed
LEASE_S = 10.0
MAX_LEASE_S = 120.0


class LeaseAsk(msgspec.Struct, frozen=True, gc=False):
    """Somebody wants to send a process of `demand` CPUs and `rss_bytes`, and believes our load is
    `load_seen`.
    """

    asker: int
    ask_id: int
    demand: float
    rss_bytes: float
    load_seen: float
    step: str = "load"
    hold_s: float = LEASE_S
    home: int = 0  # a node takes its own processes back even when it takes no guests


class Lease(msgspec.Struct, frozen=True, gc=False):
    """A promise, until `until` by our clock."""

    ask: LeaseAsk
    until: float


class LeaseBook:
    """What this node has promised. Keys are (asker, ask id)."""

    def __init__(self) -> None:
        self._leases: dict[tuple[int, int], Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def reserved_load(self) -> float:
        """Processes promised and not yet here."""
        return sum(lease.ask.demand for lease in self._leases.values()) if self._leases else 0.0

    def reserved_bytes(self) -> float:
        """Memory promised and not yet used."""
        return sum(lease.ask.rss_bytes for lease in self._leases.values()) if self._leases else 0.0

    def consider(
        self, ask: LeaseAsk, now: float, *, load: float, mem_free: float, mem_total: float, refuses: str
    ) -> str:
        """Grant the lease (empty answer) or say why not.

        `load` and `mem_free` are the present truth, promises included.
        """
        self.expire(now)
        key = (ask.asker, ask.ask_id)
        if key in self._leases:
            return ""
        if refuses:
            return refuses
        if len(self._leases) >= MAX_PENDING:
            return f"{len(self._leases)} processes are on their way here already"
        if not (0 <= ask.demand < 1e5 and 0 <= ask.rss_bytes < 1e16):
            return "asks for something that cannot be"
        if ask.step in ("load", "paging") and not load <= ask.load_seen + RISE:
            return f"its load is {load:.2f} and not {ask.load_seen:.2f} any more"
        if ask.rss_bytes > mem_free - RESERVE * mem_total and ask.step not in ("drain", "paging"):
            return "its memory is short"
        hold_s = min(max(ask.hold_s, 1.0), MAX_LEASE_S) if ask.hold_s == ask.hold_s else LEASE_S
        self._leases[key] = Lease(ask, now + hold_s)
        return ""

    def release(self, asker: int, ask_id: int) -> bool:
        """The process came, or will not come. True when there was such a lease."""
        return self._leases.pop((asker, ask_id), None) is not None

    def forget_node(self, asker: int) -> None:
        """The asker is gone."""
        for key in [key for key in self._leases if key[0] == asker]:
            del self._leases[key]

    def expire(self, now: float) -> None:
        """Drop the leases that have lapsed."""
        if self._leases:
            for key in [key for key, lease in self._leases.items() if lease.until <= now]:
                del self._leases[key]
