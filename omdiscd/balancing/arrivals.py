"""What the core is told of a process that has come here: a guest, or our own that a host sent back into its place."""

from __future__ import annotations

from balancer.events import GuestArrived
from balancer.speed import relative_speed
from migrated.core.hints import Hints
from omdiscd.admin.interfaces import GuestHere
from omdiscd.balancing.sampler import cpu_used_s


def guest_arrived(guest: GuestHere) -> GuestArrived:
    """Its counters in /proc begin at zero here: what it used before is told by the hints."""
    hints = guest.hints
    return GuestArrived(
        pid=guest.pid,
        home=guest.home,
        came_from=guest.came_from or guest.home,
        ask_id=hints.ask_id,
        cpu_s=hints.cpu_s,
        age_s=hints.age_s,
        left=hints.left,
    )


def came_home(pid: int, own_node: int, host: int, hints: Hints, speed: int) -> GuestArrived:
    """Its counters here go on where they stood when it left, so that part is not told twice."""
    before_s = cpu_used_s(pid) * relative_speed(speed)
    return GuestArrived(
        pid=pid,
        home=own_node,
        came_from=host,
        ask_id=hints.ask_id,
        cpu_s=max(0.0, hints.cpu_s - before_s),
        age_s=hints.age_s,
        left=hints.left,
    )
