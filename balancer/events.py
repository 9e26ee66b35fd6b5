"""What goes into the balancer's core and what comes out of it. Plain values; each command is carried out by
the caller.
"""

from __future__ import annotations

import msgspec

from balancer.decay import DecayChoice
from balancer.leases import LeaseAsk
from balancer.settings import Settings
from balancer.vector import Aged


class ProcessSample(msgspec.Struct, gc=False):
    """One process that runs on this node, as just read. CPU time, delay and I/O are totals of its life
    here.
    """

    pid: int
    home: int
    cpu_s: float  # CPU seconds on this node's CPUs, of its whole life as far as known
    run_delay_s: float
    rss_bytes: float
    age_s: float = 0.0  # since it started on this node or arrived here
    io_calls: float = 0.0
    io_bytes: float = 0.0
    exempt: str = ""
    vetoes: tuple[str, ...] = ()
    locked: bool = False
    allowed: frozenset[int] | None = None
    decay: DecayChoice = DecayChoice()


class AwaySample(msgspec.Struct, frozen=True, gc=False):
    """One of our own processes that runs elsewhere: run time and run delay there, as the guest shim reports
    them.
    """

    pid: int
    node: int
    cpu_s: float
    run_delay_s: float


class Tick(msgspec.Struct, frozen=True, gc=False):
    """The node's facts, about once a second.

    `own_load` overrides the sum over the processes when the node can tell better.
    """

    processes: tuple[ProcessSample, ...]
    mem_total: float
    mem_used: float
    away: tuple[AwaySample, ...] = ()
    memory_stall: float = 0.0
    other_load: float = 0.0  # processes that want to run here and are not listed


class VectorReceived(msgspec.Struct, frozen=True, gc=False):
    """A peer's load vector, decoded; `transit_s` is half the round trip when that is known."""

    sender: int
    entries: tuple[Aged, ...]
    wants_answer: bool = False
    transit_s: float = 0.0


class MembersChanged(msgspec.Struct, frozen=True):
    """All living members but this node."""

    members: tuple[int, ...]


class LeaseAsked(msgspec.Struct, frozen=True, gc=False):
    """A peer asks for room. `load_now` and `mem_free_now` are a fresh look where the caller can afford one."""

    ask: LeaseAsk
    load_now: float | None = None
    mem_free_now: float | None = None


class LeaseAnswered(msgspec.Struct, frozen=True, gc=False):
    """A peer's answer to our question."""

    ask_id: int
    node: int
    granted: bool
    load: float
    reason: str = ""


class LeaseReleased(msgspec.Struct, frozen=True, gc=False):
    """The asker lets us know that the process will not come."""

    asker: int
    ask_id: int


class GuestArrived(msgspec.Struct, frozen=True, gc=False):
    """A process came to this node, by a move; the lease it came with is used up."""

    pid: int
    home: int
    came_from: int
    ask_id: int = 0
    cpu_s: float = 0.0  # its CPU time so far, on the standard processor
    age_s: float = 0.0  # since it started, anywhere
    left: tuple[tuple[int, float], ...] = ()  # nodes it left before, and how long ago; `StartMove.left` carries it


class MoveEnded(msgspec.Struct, frozen=True, gc=False):
    """A move this core asked for has ended. `frozen_s` is how long the process stood still."""

    pid: int
    node: int
    ok: bool
    size_bytes: float = 0.0
    frozen_s: float = 0.0
    reason: str = ""


class PlaceWanted(msgspec.Struct, frozen=True, gc=False):
    """A new program is to start where it is best; answered by a `Place` with the same token."""

    token: int
    rss_bytes: float = 0.0
    allowed: frozenset[int] | None = None


class SettingsChanged(msgspec.Struct, frozen=True):
    """The node's settings from now on."""

    settings: Settings


Event = (
    Tick
    | VectorReceived
    | MembersChanged
    | LeaseAsked
    | LeaseAnswered
    | LeaseReleased
    | GuestArrived
    | MoveEnded
    | PlaceWanted
    | SettingsChanged
)


class SendVector(msgspec.Struct, frozen=True, gc=False):
    """Send these entries to these nodes."""

    targets: tuple[int, ...]
    entries: tuple[Aged, ...]
    wants_answer: bool = False


class AskLease(msgspec.Struct, frozen=True, gc=False):
    """Ask a node for room; no answer within the timeout counts as a refusal (`LeaseAnswered` with
    granted=False).
    """

    node: int
    ask: LeaseAsk
    timeout_s: float


class AnswerLease(msgspec.Struct, frozen=True, gc=False):
    """Our answer to a peer."""

    asker: int
    ask_id: int
    granted: bool
    load: float
    reason: str = ""


class ReleaseLease(msgspec.Struct, frozen=True, gc=False):
    """Tell a node that the process will not come after all."""

    node: int
    ask_id: int


class StartMove(msgspec.Struct, frozen=True, gc=False):
    """Move a process that runs here; must be answered by `MoveEnded`."""

    pid: int
    node: int
    ask_id: int
    why: str
    step: str
    left: tuple[tuple[int, float], ...] = ()


class HoldProcess(msgspec.Struct, frozen=True, gc=False):
    """Suspend a process since memory is short; `ReleaseProcess` follows."""

    pid: int
    why: str


class ReleaseProcess(msgspec.Struct, frozen=True, gc=False):
    """Let a suspended process go on."""

    pid: int


class Place(msgspec.Struct, frozen=True, gc=False):
    """Start the program of this token on this node; `ask_id` names the lease, 0 = none."""

    token: int
    node: int
    ask_id: int = 0


Command = SendVector | AskLease | AnswerLease | ReleaseLease | StartMove | HoldProcess | ReleaseProcess | Place
