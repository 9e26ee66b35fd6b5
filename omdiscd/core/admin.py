"""The administrator's settings of one node: names, ranges, defaults, and what "already so" means.

Owns the values behind `admin/*` of the hpc tree and behind `mosctl`: five switches, two speeds, the decay
of statistics, the cost tables, the gateways. Values only: it stores nothing, tells nobody and never acts.
Defaults and ranges are those of the openMosix 2.4.26 kernel (openmosix.md 4.1, 5.4, 5.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from omprotocol.errors import MosixError

STANDARD_SPEED = 15000
"""Speed of the standard processor, a 1 GHz Pentium III: the unit every raw load is normalised to."""
MAX_SPEED = 65535
MAX_DECAY_INTERVAL_S = 65535
DECAY_PER_MILLE = 1000
MAX_GATEWAYS = 2
MAX_COST_US = 2**31 - 1

SWITCHES = ("stay", "lstay", "block", "quiet", "nomfs")
DEFAULT_OVERHEADS_US = (81, 150, 39, 38, 0, 11, 0, 18, 0, 18, 0, 12, 8141, 351)
DEFAULT_MFS_COSTS_US = (36, 40, 14, 19, 88, 56)
OVERHEAD_LABELS = (
    "Home-node overhead in processing a demand-page",
    "Remote overhead in processing a demand-page",
    "Home-node overhead in processing a system call",
    "Remote overhead in processing a system call",
    "Basic home-node overhead for reading data",
    "Home-node overhead per 1KB read",
    "Basic remote overhead for reading data",
    "Remote overhead per 1KB read",
    "Basic home-node overhead for writing data",
    "Home-node overhead per 1KB written",
    "Basic remote overhead for writing data",
    "Remote overhead per 1KB written",
    "Migration time of an empty process",
    "Extra migration time per dirty page",
)


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """What the administrator of this node decided; `speed` None means the measured speed."""

    stay: bool = False
    lstay: bool = False
    block: bool = False
    quiet: bool = False
    nomfs: bool = False
    drain: bool = False
    speed: int | None = None
    sspeed: int = STANDARD_SPEED
    slowdecay: int = 975
    fastdecay: int = 926
    decayinterval: int = 2
    overheads: tuple[int, ...] = DEFAULT_OVERHEADS_US
    mfscosts: tuple[int, ...] = DEFAULT_MFS_COSTS_US
    gateways: int = 0


class Change(NamedTuple):
    """Settings after a request, and whether they were so before it."""

    settings: AdminSettings
    already: bool


NAMES = tuple(field.name for field in fields(AdminSettings))
_INTEGER_RANGES = {
    "speed": (1, MAX_SPEED),
    "sspeed": (1, MAX_SPEED),
    "slowdecay": (0, DECAY_PER_MILLE),
    "fastdecay": (0, DECAY_PER_MILLE),
    "decayinterval": (1, MAX_DECAY_INTERVAL_S),
    "gateways": (0, MAX_GATEWAYS),
}
_TABLE_LENGTHS = {"overheads": len(DEFAULT_OVERHEADS_US), "mfscosts": len(DEFAULT_MFS_COSTS_US)}


def improper(name: str, why: str) -> MosixError:
    """The error for a value outside its range; the hpc tree turns its code into EINVAL."""
    return MosixError("improper-value", f"{name}: {why}", 2)


def change(settings: AdminSettings, name: str, value: object) -> Change:
    """Set one value. Raises MosixError `improper-value` (range, type) or `no-such-setting`."""
    checked: object
    if name in SWITCHES or name == "drain":
        checked = _switch(name, value)
    elif name in _INTEGER_RANGES:
        low, high = _INTEGER_RANGES[name]
        checked = None if name == "speed" and value is None else _integer(name, value, low, high)
    elif name in _TABLE_LENGTHS:
        checked = _table(name, value)
    else:
        raise MosixError("no-such-setting", f"There is no setting called {name!r}.", 2)
    after = replace(settings, **{name: checked})  # type: ignore[arg-type]
    if after.slowdecay < after.fastdecay:
        raise improper(name, f"slow decay ({after.slowdecay}) must be at least fast decay ({after.fastdecay})")
    return Change(after, after == settings)


def change_decay(settings: AdminSettings, interval_s: object, slow: object, fast: object) -> Change:
    """`mosctl setdecay`: all three or none. Interval 1-65535 s; 1 <= fast <= slow <= 1000 (of 1000 kept)."""
    interval_checked = _integer("interval", interval_s, 1, MAX_DECAY_INTERVAL_S)
    slow_checked = _integer("slow", slow, 1, DECAY_PER_MILLE)
    fast_checked = _integer("fast", fast, 1, DECAY_PER_MILLE)
    if slow_checked < fast_checked:
        raise improper("setdecay", f"slow ({slow_checked}) must be at least fast ({fast_checked})")
    after = replace(settings, decayinterval=interval_checked, slowdecay=slow_checked, fastdecay=fast_checked)
    return Change(after, after == settings)


def parse_text(name: str, text: str) -> object:
    """Value of a line written to `admin/<name>`; its range is not checked. Raises `improper-value`."""
    words = text.split()
    try:
        numbers = [_decimal(word) for word in words]
    except ValueError:
        raise improper(name, f"{text.strip()[:40]!r} is not a number") from None
    if name in _TABLE_LENGTHS:
        return numbers
    if len(numbers) != 1:
        raise improper(name, "exactly one number is expected")
    return numbers[0]


def format_text(settings: AdminSettings, name: str, measured_speed: int = STANDARD_SPEED) -> str:
    """The line that `admin/<name>` shows, with its newline."""
    value = shown_speed(settings, measured_speed) if name == "speed" else getattr(settings, name)
    if isinstance(value, tuple):
        return " ".join(map(str, value)) + "\n"
    return f"{int(value)}\n"


def shown_speed(settings: AdminSettings, measured_speed: int) -> int:
    """The node's speed: what the administrator set, else what was measured."""
    return measured_speed if settings.speed is None else settings.speed


def to_plain(settings: AdminSettings) -> dict[str, object]:
    """Settings as plain values for storing and for the control protocol."""
    plain: dict[str, object] = {}
    for name in NAMES:
        value = getattr(settings, name)
        plain[name] = list(value) if isinstance(value, tuple) else value
    return plain


def from_plain(plain: Mapping[str, object]) -> AdminSettings:
    """Settings from stored values; a value that is missing or improper is left at its default."""
    settings = AdminSettings()
    decay = [plain.get(name) for name in ("slowdecay", "fastdecay")]
    if all(isinstance(part, int) and not isinstance(part, bool) for part in decay):
        try:
            settings = change(settings, "fastdecay", 0).settings
            settings = change(settings, "slowdecay", decay[0]).settings
            settings = change(settings, "fastdecay", decay[1]).settings
        except MosixError:
            settings = AdminSettings()
    for name in NAMES:
        if name in ("slowdecay", "fastdecay") or name not in plain:
            continue
        try:
            settings = change(settings, name, plain[name]).settings
        except MosixError:
            continue
    return settings


def _decimal(word: str) -> int:
    if not word.lstrip("-").isdecimal() or not word.isascii() or len(word) > 12:
        raise ValueError(word)
    return int(word)


def _switch(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise improper(name, "only 0 and 1 are possible")


def _integer(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise improper(name, "a whole number is expected")
    if not low <= value <= high:
        raise improper(name, f"{value} is outside {low}-{high}")
    return value


def _table(name: str, value: object) -> tuple[int, ...]:
    length = _TABLE_LENGTHS[name]
    if not isinstance(value, list | tuple) or len(value) != length:
        raise improper(name, f"exactly {length} numbers are expected")
    return tuple(_integer(name, item, 0, MAX_COST_US) for item in value)
