"""The scenarios: which machines, which jobs, which trouble.

A scenario is a function of its options and a seed.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from balancer.facts import DEFAULT_LIMITS, Limits
from balancer.gossip import GossipPlan
from balancer.memory import USABLE
from balancer.policies import policy_named
from balancer.settings import Settings
from balancer.simulate.cluster import Simulation
from balancer.simulate.streams import (
    AMIR_MACHINES,
    MB,
    Arrival,
    amir_stream,
    burst_stream,
    memory_stream,
    pareto_stream,
)
from balancer.simulate.world import Outage, World

# The machines of Amir et al. page when memory is short, they do not kill.
PAGING = Limits(overcommit=True)


class Options(msgspec.Struct, frozen=True):
    """What can be varied in a scenario."""

    nodes: int = 16
    rho: float = 0.7
    seconds: float = 300.0
    window: int = 0  # entries in a message, 0 = the policy's own
    loss: float = 0.0
    fixed_cost_s: float = 0.1
    bytes_per_s: float = 100e6
    place_cost_s: float = 0.0


class Scenario(msgspec.Struct, frozen=True):
    """A prepared scenario, good for a run of any policy."""

    world: World
    stream: tuple[Arrival, ...]
    outages: tuple[Outage, ...] = ()
    limits: Limits = DEFAULT_LIMITS


def _world(options: Options, speeds: tuple[float, ...], **more: object) -> World:
    base = World(
        speeds,
        fixed_cost_s=options.fixed_cost_s,
        bytes_per_s=options.bytes_per_s,
        place_cost_s=options.place_cost_s,
        loss=options.loss,
    )
    return msgspec.structs.replace(base, **more)


def _equal(options: Options, seed: int) -> Scenario:
    speeds = (1.0,) * options.nodes
    return Scenario(_world(options, speeds), tuple(pareto_stream(seed, speeds, options.rho, options.seconds)))


def _speeds(options: Options, seed: int) -> Scenario:
    speeds = tuple((1.0, 2.0, 4.0)[i % 3] for i in range(options.nodes))
    return Scenario(_world(options, speeds), tuple(pareto_stream(seed, speeds, options.rho, options.seconds)))


def _skewed(options: Options, seed: int) -> Scenario:
    speeds = (1.0,) * options.nodes
    stream = pareto_stream(seed, speeds, options.rho, options.seconds, skew=0.5)
    return Scenario(_world(options, speeds), tuple(stream))


def _amir(options: Options, seed: int) -> Scenario:
    world = World(
        tuple(speed for speed, _ in AMIR_MACHINES),
        memory=tuple(megabytes * MB / USABLE for _, megabytes in AMIR_MACHINES),
        free_moves=True,
        loss=options.loss,
    )
    return Scenario(world, tuple(amir_stream(seed)), limits=PAGING)


def _burst(options: Options, seed: int) -> Scenario:
    return Scenario(_world(options, (1.0,) * options.nodes), tuple(burst_stream(3 * options.nodes, 10.0)))


def _memory(options: Options, seed: int) -> Scenario:
    size = 1000 * MB
    world = _world(options, (1.0,) * options.nodes, memory=(size,) * options.nodes)
    return Scenario(world, tuple(memory_stream(seed, options.nodes, size, 8, 20.0)))


def _churn(options: Options, seed: int) -> Scenario:
    base = _equal(options, seed)
    step = options.seconds / 8
    outages = tuple(
        Outage(step * (i + 1), step * (i + 1) + step / 2, (1 + (3 * i + seed) % options.nodes,)) for i in range(6)
    )
    return msgspec.structs.replace(base, outages=outages)


def _partition(options: Options, seed: int) -> Scenario:
    base = _equal(options, seed)
    half = tuple(range(1, options.nodes // 2 + 1))
    third = options.seconds / 3
    return msgspec.structs.replace(base, outages=(Outage(third, 2 * third, half, cut_only=True),))


def _liar(options: Options, seed: int) -> Scenario:
    base = _equal(options, seed)
    return msgspec.structs.replace(base, world=msgspec.structs.replace(base.world, liars=(options.nodes,)))


def _flapping(options: Options, seed: int) -> Scenario:
    base = _equal(options, seed)
    outages = tuple(Outage(5.0 + i, 5.5 + i, (options.nodes,)) for i in range(int(options.seconds) - 10))
    world = msgspec.structs.replace(base.world, detect_s=0.2)
    return msgspec.structs.replace(base, world=world, outages=outages)


SCENARIOS: dict[str, tuple[Callable[[Options, int], Scenario], str]] = {
    "amir": (_amir, "six unequal machines, the job stream of Amir et al. 2000; moves are free"),
    "equal": (_equal, "equal nodes, Poisson arrivals of bounded Pareto jobs"),
    "speeds": (_speeds, "the same with speeds 1:2:4"),
    "skewed": (_skewed, "equal nodes, homes skewed as i^-0.5"),
    "burst": (_burst, "three 10 s loops per node, all started on one node at once"),
    "memory": (_memory, "eight jobs that need 130 % of one node's memory, started there"),
    "churn": (_churn, "equal nodes, six of which die and come back one after the other"),
    "partition": (_partition, "equal nodes, cut in halves for the middle third"),
    "liar": (_liar, "equal nodes, one of which always says it is idle"),
    "flapping": (_flapping, "equal nodes, one of which dies and returns every second"),
}


def prepare(name: str, options: Options, seed: int) -> Scenario:
    """The scenario of that name; ValueError names those there are."""
    if name not in SCENARIOS:
        raise ValueError(f"no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    return SCENARIOS[name][0](options, seed)


def simulate(scenario: Scenario, policy: str, seed: int, window: int = 0, *, suspends: bool = True) -> Simulation:
    """Run a policy on a prepared scenario to its end. `window` limits the entries in a message.

    With `suspends` = False our rule does not suspend processes when memory is short.
    """
    limits = msgspec.structs.replace(scenario.limits, hold_when_short=suspends)
    plan: GossipPlan | None = None
    if window:
        own = policy_named(policy).plan
        oldest = min(own.oldest, window // 4)
        plan = msgspec.structs.replace(own, window=window - oldest, oldest=oldest)
    simulation = Simulation(
        scenario.world,
        scenario.stream,
        policy,
        seed,
        plan=plan,
        outages=scenario.outages,
        settings=Settings(limits=limits),
    )
    simulation.run()
    return simulation
