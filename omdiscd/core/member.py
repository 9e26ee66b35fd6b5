"""One member of the cluster as this node sees it, and the timings it is judged by.

Owns data only. Times are readings of the caller's monotonic clock in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from omdiscd.core.replay_window import ReplayWindow
from omdiscd.core.suspicion import Suspicion


class MemberState(Enum):
    """Where a member stands."""

    JOINING = "joining"
    """Known and authentic, but does not hold its node number (yet)."""
    ALIVE = "alive"
    SUSPECT = "suspect"
    """Not heard of, and did not answer a probe; still counts as a member."""
    DEAD = "dead"
    LEFT = "left"
    """Said so itself; this start of its daemon does not come back."""


PRESENT = (MemberState.ALIVE, MemberState.SUSPECT)
"""States that count as up."""


@dataclass(frozen=True)
class Timings:
    """Periods and patience, in seconds."""

    period_s: float = 1.0
    """Between two pulses of a node."""
    announce_s: float = 10.0
    """Between two announcements of a node that is settled."""
    joining_s: float = 1.0
    """How long a new node listens for another user of its number before it takes the number."""
    silent_periods: float = 3.0
    """Silence after which a member is probed."""
    probe_periods: float = 0.5
    """How long each of the direct and the indirect probe waits."""
    suspicion_min_periods: float = 2.0
    suspicion_max_periods: float = 6.0
    forget_s: float = 86400.0
    """How long a dead member is remembered."""

    @property
    def silent_s(self) -> float:
        return self.silent_periods * self.period_s

    @property
    def probe_s(self) -> float:
        return self.probe_periods * self.period_s


@dataclass(slots=True)
class Probe:
    """A probe under way: when it began, its number, and whether others were asked to help."""

    began: float
    sequence: int
    is_indirect: bool = False


@dataclass(slots=True)
class Member:
    """One start of the daemon of one node."""

    node: int
    boot_id: bytes
    addresses: tuple[int, ...]
    gossip_port: int
    peer_port: int
    name: str
    version: str
    incarnation: int
    state: MemberState
    heard_at: float
    """When anybody last heard it."""
    state_since: float
    active_since: float
    """Since when it holds its node number, by its own word."""
    window: ReplayWindow
    probe: Probe | None = None
    suspicion: Suspicion | None = None

    @property
    def address(self) -> int:
        """The primary address, as an integer."""
        return self.addresses[0]

    @property
    def is_present(self) -> bool:
        """Whether it counts as up."""
        return self.state in PRESENT
