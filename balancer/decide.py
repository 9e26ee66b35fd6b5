"""The decision: one pure function from a view and a seed to a choice.

Everything that moves a process by itself goes through here, on a real node as in the simulator and in
`explain`. Same view, same policy, same seed: same choice.
"""

from __future__ import annotations

import msgspec

from balancer.drain import drain
from balancer.draw import Draw
from balancer.facts import Choice, Stay, View
from balancer.policies import policy_named
from balancer.trace import Trace
from balancer.usher import usher


class Decision(msgspec.Struct, frozen=True):
    """A choice and all that is needed to make it again."""

    view: View
    seed: int
    at: float
    choice: Choice


def choose(view: View, seed: int, trace: Trace | None = None) -> Choice:
    """What this node does now. Never blocks, never raises for a valid view; ValueError for an unknown
    policy.
    """
    policy = policy_named(view.policy)
    own = view.own
    if own.moving_out:
        return Stay("a move is under way already")
    draw = Draw(seed)
    if own.draining:
        return drain(view, draw, trace)
    if own.stay:
        return Stay("nothing leaves this node by itself (stay)")
    if policy.ushers:
        ushered = usher(view, trace)
        if ushered is not None:
            return ushered
    if not view.processes:
        return Stay("nothing runs here")
    return policy.choose_move(view, draw, trace)


def decide(view: View, now: float, seed: int) -> Decision:
    """`choose` with its inputs kept, for the ring."""
    return Decision(view, seed, now, choose(view, seed))
