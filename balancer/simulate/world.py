"""What is given in a simulation: the machines, the network, and what happens to them."""

from __future__ import annotations

import msgspec

from balancer.vector import LoadEntry


class World(msgspec.Struct, frozen=True):
    """The machines and the network. One entry per node in `speeds`, `cpus` and `memory` (bytes); nodes are
    1..n.
    """

    speeds: tuple[float, ...]
    cpus: tuple[float, ...] = ()
    memory: tuple[float, ...] = ()
    fixed_cost_s: float = 0.1  # a move freezes its process for this long ...
    bytes_per_s: float = 100e6  # ... and its size over this
    free_moves: bool = False
    place_cost_s: float = 0.0  # starting a program elsewhere
    loss: float = 0.0
    liars: tuple[int, ...] = ()  # nodes that always say they are idle
    detect_s: float = 5.0  # until all know of a death


class Outage(msgspec.Struct, frozen=True):
    """Nodes that are dead, or cut off from the others, for a while. A dead node loses what runs on it."""

    at_s: float
    until_s: float
    nodes: tuple[int, ...]
    cut_only: bool = False


def claiming_idle(entry: LoadEntry) -> LoadEntry:
    """What a node that always says it is idle sends instead of its entry."""
    return msgspec.structs.replace(entry, load=0.0, upper=0.0, flags=0)
