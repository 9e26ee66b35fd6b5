"""What the administrator can set about balancing on one node."""

from __future__ import annotations

import msgspec

from balancer.decay import DecayRates
from balancer.facts import DEFAULT_LIMITS, Limits
from balancer.gossip import GossipPlan
from balancer.speed import STANDARD_SPEED


class Settings(msgspec.Struct, frozen=True):
    """One node's settings. `mosctl` changes them while the daemon runs; a changed copy replaces the old
    one.
    """

    policy: str = "ours"
    speed: int = STANDARD_SPEED
    cpus: float = 1.0  # CPUs, or the quota in CPUs
    stay: bool = False
    lstay: bool = False
    block: bool = False
    quiet: bool = False  # tells nobody its load
    draining: bool = False
    decay: DecayRates = DecayRates()
    plan: GossipPlan | None = None  # None = the policy's own
    limits: Limits = DEFAULT_LIMITS
    rest_after_refusal_s: float = 0.5
    ask_timeout_s: float = 1.0
    move_timeout_s: float = 600.0  # a move that has not ended by then is given up in the books
