"""What users decided about single processes: lock, decay of statistics, allowed nodes, and who inherits it.

Owns the settings behind `pid/PID/*`, `decay/*` and `mosrun`, keyed by process identity so that a reused PID
never gets a stranger's settings. Pure: the caller says who the parents are and which program runs.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from omdiscd.core.admin import DECAY_PER_MILLE, MAX_DECAY_INTERVAL_S, improper
from omprotocol.errors import MosixError
from omprotocol.static_map import MAX_NODE

MAX_RULED_PROCESSES = 65536
"""Most processes with settings of their own; more are refused until some have ended."""
MAX_LISTED_NODES = 4096
MAX_SIGNAL = 64
DECAY_TYPES = {"cpujob": 1, "iojob": 2, "slow": 4, "fast": 5, "own": 6}
"""openMosix's numbers of the decay types."""
FLAGS = ("lock", "inherit", "exec", "execonce", "migfilter", "migpolicy")
_RANGES = {
    "sigmig": (0, MAX_SIGNAL),
    "disclosure": (0, 3),
    "selected": (0, MAX_NODE),
    "miggroup": (0, 2**31 - 1),
}


class ProcessIdentity(NamedTuple):
    """A process for its whole life: PID and start time in clock ticks since boot."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class ProcessRules:
    """Settings of one process; decay type `own` keeps `own_rate` per mille every `own_interval_s`."""

    lock: bool = False
    decay: str = "slow"
    own_rate: int = 975
    own_interval_s: int = 2
    inherit: bool = True
    exec: bool = True
    execonce: bool = False
    sigmig: int = 0
    disclosure: int = 1
    selected: int = 0
    migfilter: bool = False
    migpolicy: bool = False
    mignodes: frozenset[int] = frozenset()
    miggroup: int = 0

    def allows(self, node: int) -> bool:
        """Whether the cluster mask lets the balancer send the process to this node."""
        return not self.migfilter or (node in self.mignodes) == self.migpolicy

    def for_child(self) -> ProcessRules:
        """What a forked child starts with: the lock and mask always, the decay only when it is inherited."""
        if self.inherit:
            return self
        plain = ProcessRules()
        return replace(
            self,
            decay=plain.decay,
            own_rate=plain.own_rate,
            own_interval_s=plain.own_interval_s,
            inherit=True,
        )

    def without_decay(self) -> ProcessRules:
        """The same with the default decay: what is left after an exec that decay does not survive."""
        plain = ProcessRules()
        return replace(
            self,
            decay=plain.decay,
            own_rate=plain.own_rate,
            own_interval_s=plain.own_interval_s,
            inherit=True,
            exec=True,
            execonce=False,
        )


DEFAULT_RULES = ProcessRules()


def set_rule(rules: ProcessRules, name: str, value: object) -> ProcessRules:
    """Rules with one setting changed. Raises MosixError `improper-value` or `no-such-setting`.

    Flags take 0 or 1; decay types only 1; `own` [rate 0-1000, interval 1-65535 s]; `mignodes` a list.
    """
    if name in FLAGS:
        if not isinstance(value, int) or value not in (0, 1):
            raise improper(name, "only 0 and 1 are possible")
        return replace(rules, **{name: bool(value)})  # type: ignore[arg-type]
    if name == "own":
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise improper(name, "a rate (0-1000) and an interval in seconds (1-65535) are expected")
        rate = _whole(name, value[0], 0, DECAY_PER_MILLE)
        interval_s = _whole(name, value[1], 1, MAX_DECAY_INTERVAL_S)
        return replace(rules, decay="own", own_rate=rate, own_interval_s=interval_s)
    if name in DECAY_TYPES:
        if not isinstance(value, int) or value != 1:
            raise improper(name, "only 1 is possible")
        return replace(rules, decay=name)
    if name == "mignodes":
        if not isinstance(value, list | tuple) or len(value) > MAX_LISTED_NODES:
            raise improper(name, f"a list of at most {MAX_LISTED_NODES} node numbers is expected")
        return replace(rules, mignodes=frozenset(_whole(name, node, 1, MAX_NODE) for node in value))
    if name in _RANGES:
        return replace(rules, **{name: _whole(name, value, *_RANGES[name])})  # type: ignore[arg-type]
    raise MosixError("no-such-setting", f"A process has no setting called {name!r}.", 2)


class ProcessRulesTable:
    """Rules of all processes that have any."""

    def __init__(self) -> None:
        self._rules: dict[ProcessIdentity, ProcessRules] = {}
        self._programs: dict[ProcessIdentity, str] = {}

    def __len__(self) -> int:
        return len(self._rules)

    def identities(self) -> list[ProcessIdentity]:
        """Everybody with rules of its own."""
        return list(self._rules)

    def put(self, who: ProcessIdentity, rules: ProcessRules) -> None:
        """Remember rules. Raises MosixError `too-many` when the table is full."""
        if who not in self._rules and len(self._rules) >= MAX_RULED_PROCESSES:
            raise MosixError("too-many", f"Already {MAX_RULED_PROCESSES} processes have settings of their own.")
        self._rules[who] = rules

    def of(self, who: ProcessIdentity, parents: Iterable[ProcessIdentity]) -> ProcessRules:
        """Own rules, else those inherited from the nearest parent (given nearest first) that has some."""
        own = self._rules.get(who)
        if own is not None:
            return own
        for parent in parents:
            rules = self._rules.get(parent)
            if rules is not None:
                return rules.for_child()
        return DEFAULT_RULES

    def seen_program(self, who: ProcessIdentity, program: str) -> None:
        """Note which program runs; a change is an exec, which may end the decay setting."""
        rules = self._rules.get(who)
        if rules is None:
            return
        before = self._programs.setdefault(who, program)
        if before == program:
            return
        self._programs[who] = program
        if rules.execonce:
            self._rules[who] = replace(rules, execonce=False)
        elif not rules.exec:
            self._rules[who] = rules.without_decay()

    def keep_only(self, alive: Container[ProcessIdentity]) -> None:
        """Forget processes that have ended."""
        for who in [who for who in self._rules if who not in alive]:
            del self._rules[who]
            self._programs.pop(who, None)


def _whole(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise improper(name, f"a whole number within {low}-{high} is expected")
    return value
