"""What a decision looks at: facts about the own node, its peers and the processes on it.

Everything is a plain value that can be kept, dumped as JSON and given to the same function again. Loads are
in processes, memory in bytes, speeds relative to the standard processor, times in seconds; ages, never
clock readings.
"""

from __future__ import annotations

import msgspec

from balancer.decay import SLOW
from balancer.migration_cost import MoveCost


class OwnFacts(msgspec.Struct, frozen=True, gc=False):
    """The node that decides."""

    node: int
    load: float  # processes that want to run now, arrivals promised to others included
    local_load: float  # openMosix's local load, its unit
    speed: float
    cpus: float
    mem_total: float
    mem_used: float
    efficiency: float = 1.0
    stay: bool = False  # nothing leaves by itself
    lstay: bool = False  # local processes stay, guests may go
    draining: bool = False  # everything must leave
    moving_out: bool = False  # a move is under way already
    steady_s: float = 0.0  # for how long the load has not been lower than now


class PeerFacts(msgspec.Struct, frozen=True, gc=False):
    """A peer as far as this node knows, corrected by what this node itself sent there."""

    node: int
    load: float
    exported_load: float  # openMosix's exported load, its unit
    speed: float
    cpus: float
    mem_total: float
    mem_free: float
    age_s: float
    refuses: str = ""  # why it takes nobody: "blocked", "draining"
    distrust: str = ""  # why its entry is not believed


class ProcessFacts(msgspec.Struct, frozen=True, gc=False):
    """One process that runs here."""

    pid: int
    home: int
    cpu_s: float  # CPU it has used in its life, on the standard processor
    recent_cpu_s: float  # the same, decayed
    demand: float  # CPUs it wants, 0.. (1.0 = always runnable)
    rss_bytes: float
    here_s: float  # since it started or came here
    age_s: float = 0.0  # since it started, anywhere
    decay_class: str = SLOW
    undecayed_share: float = 1.0
    considered_cpu_s: float = 0.0  # CPU used since it was last considered (the original's age)
    io_calls_per_s: float = 0.0  # system calls that have to be served at home
    io_bytes_per_s: float = 0.0
    previous_node: int = 0  # where it came from, 0 = never moved
    left: tuple[tuple[int, float], ...] = ()  # nodes it left lately, and how long ago
    locked: bool = False
    exempt: str = ""  # why the balancer leaves it alone: "system service", "reads its terminal", ...
    vetoes: tuple[str, ...] = ()  # the `cantmove` reasons
    allowed: frozenset[int] | None = None  # a user's constraint on nodes; None = any
    held: bool = False  # suspended by the balancer because memory is short
    may_hold: bool = True  # False for a while after it was


class Limits(msgspec.Struct, frozen=True, gc=False):
    """The constants of our own rule (algorithms.md section 5)."""

    hysteresis: float = (
        0.3  # processes per CPU the target has to be better by, besides the one that moves (MOSIX's 130 %)
    )
    kappa: float = 10.0  # gain needed, in costs of moving; by simulation, docs/BALANCING.md
    min_gain: float = 1e-9
    near_best: float = 0.05  # targets within this share of the best are equally good
    near_best_floor: float = 0.01
    stale_s: float = 30.0  # older entries are not used
    tries: int = 3  # targets asked for a lease in one decision
    place_tries: int = 6  # the same for a new program
    residence_s: float = 1.0
    residence_costs: float = 2.0
    no_return_s: float = 10.0
    no_return_large_s: float = 31.0  # with many nodes another one is as good
    large_cluster: int = 16
    least_life_s: float = 1.0  # expected remaining CPU time of the youngest
    horizon_s: float = 0.0  # an imbalance is expected to last as long as it has lasted, and at least this long
    rtt_s: float = 0.0005
    home_bytes_per_s: float = 80e6
    hold_s: float = 30.0
    hold_when_short: bool = True
    overcommit: bool = False  # nodes have swap: a node short of memory may send to one that will be short too


DEFAULT_LIMITS = Limits()


class View(msgspec.Struct, frozen=True, gc=False):
    """All that a decision may use."""

    own: OwnFacts
    peers: tuple[PeerFacts, ...]
    processes: tuple[ProcessFacts, ...]
    move_cost: MoveCost
    policy: str
    nodes: int  # in the cluster, this one included
    limits: Limits = DEFAULT_LIMITS
    peak_load: float = 1.0  # largest load seen so far anywhere


class Move(msgspec.Struct, frozen=True):
    """Send `pid` to the first of `targets` that has room."""

    pid: int
    targets: tuple[int, ...]
    why: str
    step: str = "load"  # "load" | "memory" | "drain" | "paging"
    gain: float = 0.0  # slowdown-seconds expected to be saved


class Hold(msgspec.Struct, frozen=True):
    """Suspend `pid` for a while, since memory is short and nobody has room."""

    pid: int
    seconds: float
    why: str


class Stay(msgspec.Struct, frozen=True):
    """Move nobody. `considered` names the process that was looked at and found to be best off here."""

    why: str
    considered: int = 0


Choice = Move | Hold | Stay
