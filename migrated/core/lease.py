"""The lease under which a guest may run: granted by home, counted on both sides without a common clock.

The guest's view always ends first: its lease counts from the moment it *sent* the request that home answered,
home's from the moment it answered, and home waits a tenth and a second longer.  Durations only, on a clock
that does not stop in suspend.  Source: Gray & Cheriton, Leases (SOSP 1989).  Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LEASE_S = 10.0
GRACE_S = 60.0
RENEW_S = 2.0


@dataclass(frozen=True)
class Terms:
    """How long a lease is, and how long a body is held after one: the same on both sides, as home says."""

    lease_s: float = LEASE_S
    grace_s: float = GRACE_S


class Standing(StrEnum):
    """What the guest shim must do with its body now."""

    RUN = "run"
    HOLD = "hold"
    KILL = "kill"


@dataclass
class GuestLease:
    """The guest shim's side.  All times are monotonic seconds of the guest's node."""

    valid_from_s: float
    lease_s: float = LEASE_S
    grace_s: float = GRACE_S

    def granted(self, asked_at_s: float) -> None:
        """Home answered a request that was sent at `asked_at_s`; an older answer changes nothing."""
        self.valid_from_s = max(self.valid_from_s, asked_at_s)

    def standing(self, now: float) -> Standing:
        """RUN while the lease holds, HOLD (frozen) during the grace time, KILL after it."""
        age_s = now - self.valid_from_s
        if age_s < self.lease_s:
            return Standing.RUN
        return Standing.HOLD if age_s < self.lease_s + self.grace_s else Standing.KILL


@dataclass
class HomeLease:
    """The home shim's side.  All times are monotonic seconds of the home node."""

    answered_at_s: float
    lease_s: float = LEASE_S
    grace_s: float = GRACE_S

    def answered(self, now: float) -> None:
        """A request of the guest was answered at `now`."""
        self.answered_at_s = now

    def certainly_stopped(self, now: float) -> bool:
        """True when the guest cannot be executing any more, whatever the network did."""
        return now - self.answered_at_s > certain_after_s(self.lease_s)

    def certainly_gone(self, now: float) -> bool:
        """True when the guest shim has killed the body, or its machine is down."""
        return now - self.answered_at_s > certain_after_s(self.lease_s) + self.grace_s


def certain_after_s(lease_s: float) -> float:
    """How long home waits after its last word until the guest cannot be executing, whatever the network did."""
    return lease_s * 1.1 + 1.0


def renew_after_s(lease_s: float) -> float:
    """How often the guest asks: several times per lease."""
    return min(RENEW_S, lease_s / 5)
