"""Rules that choose a process and a node; all behind one interface, all fed with the same facts."""

from __future__ import annotations

from balancer.policies.interface import Policy
from balancer.policies.mosix import MosixPolicy
from balancer.policies.none import NonePolicy
from balancer.policies.opportunity import OpportunityPolicy
from balancer.policies.ours import OursPolicy
from balancer.policies.placement_only import BestInViewPolicy
from balancer.policies.two_choices import TwoChoicesPolicy

DEFAULT = "ours"

POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        OursPolicy(),
        MosixPolicy(),
        OpportunityPolicy(),
        TwoChoicesPolicy(),
        BestInViewPolicy(),
        NonePolicy(),
    )
}


def policy_named(name: str) -> Policy:
    """The policy of that name; ValueError names those there are."""
    try:
        return POLICIES[name]
    except KeyError:
        raise ValueError(f"no policy {name!r}; there are {', '.join(sorted(POLICIES))}") from None
