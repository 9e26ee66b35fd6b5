"""The load vector: what a node tells others about itself, its form on the wire, and which values are
believed.

An entry is 40 bytes; 34 of them fit an Ethernet frame. Its stamp (incarnation in the high half, a sequence
number in the low half) orders entries of one node; its age, never a clock reading, says how old it is.
Decoding never believes anything: `absurdity` says why an entry is not to be used, and it is kept so that
`explain` can show it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable

import msgspec

from balancer.speed import MAX_SPEED, MIN_SPEED

BLOCK = 1  # takes no guests
STAY = 2
LSTAY = 4
QUIET = 8
DRAINING = 16
URGENT = 32

MAX_ENTRIES_PER_MESSAGE = 128
MAX_AGE_S = 86400.0
MAX_LOAD = 1e5  # processes
MAX_CPUS = 8192.0
MAX_MEMORY_MIB = float(1 << 26)  # 64 TiB

_VERSION = 1
_HEADER = struct.Struct("!BBHH")  # version, flags (1 = answer wanted), sender, entries
_ENTRY = struct.Struct("!HQIffHfHffH")
ENTRY_BYTES = _ENTRY.size
HEADER_BYTES = _HEADER.size
_MIB = 1048576.0
_FLOAT32_MAX = 3.0e38


class LoadEntry(msgspec.Struct, frozen=True, gc=False):
    """What one node says about itself. Loads in processes, memory in bytes, speed in openMosix's unit."""

    node: int
    stamp: int
    load: float  # wanting to run now, promised arrivals included
    upper: float  # openMosix's slowly falling average
    speed: int
    cpus: float
    mem_total: float
    mem_free: float
    utilisability: int = 100  # per cent of one CPU times CPUs
    flags: int = 0


Aged = tuple[LoadEntry, float]  # an entry and its age in seconds


class VectorError(ValueError):
    """The bytes are no load vector."""


class VectorMessage(msgspec.Struct, frozen=True):
    """A decoded datagram: who sent it, whether it wants ours in return, and the entries with their ages."""

    sender: int
    wants_answer: bool
    entries: tuple[Aged, ...]


def stamp(incarnation: int, sequence: int) -> int:
    """Orders a node's entries: a later incarnation wins, then the later sequence number.

    Both are cut to 32 bits.
    """
    return (incarnation & 0xFFFFFFFF) << 32 | (sequence & 0xFFFFFFFF)


def _clip(value: float) -> float:
    return max(-_FLOAT32_MAX, min(_FLOAT32_MAX, value)) if math.isfinite(value) else value


def encode(sender: int, entries: Iterable[Aged], *, wants_answer: bool = False) -> bytes:
    """The datagram for up to MAX_ENTRIES_PER_MESSAGE entries; more raise ValueError."""
    parts = [b""]
    for entry, age_s in entries:
        parts.append(
            _ENTRY.pack(
                entry.node,
                entry.stamp,
                int(min(max(age_s, 0.0), MAX_AGE_S) * 1000),
                _clip(entry.load),
                _clip(entry.upper),
                min(max(entry.speed, 0), MAX_SPEED),
                _clip(entry.cpus),
                min(max(entry.utilisability, 0), 0xFFFF),
                _clip(entry.mem_total / _MIB),
                _clip(entry.mem_free / _MIB),
                entry.flags & 0xFFFF,
            )
        )
    count = len(parts) - 1
    if count > MAX_ENTRIES_PER_MESSAGE:
        raise ValueError(f"{count} entries do not fit a load vector, {MAX_ENTRIES_PER_MESSAGE} do")
    parts[0] = _HEADER.pack(_VERSION, int(wants_answer), sender, count)
    return b"".join(parts)


def decode(data: bytes) -> VectorMessage:
    """The message in a datagram; VectorError when it is none. The values in it may still be absurd."""
    if len(data) < HEADER_BYTES:
        raise VectorError(f"{len(data)} bytes are too short for a load vector")
    version, flags, sender, count = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise VectorError(f"load vector of version {version}, not {_VERSION}")
    if count > MAX_ENTRIES_PER_MESSAGE or len(data) != HEADER_BYTES + count * ENTRY_BYTES:
        raise VectorError(f"a load vector of {count} entries cannot have {len(data)} bytes")
    entries: list[Aged] = []
    for node, mark, age_ms, load, upper, speed, cpus, util, total, free, bits in _ENTRY.iter_unpack(
        memoryview(data)[HEADER_BYTES:]
    ):
        entry = LoadEntry(node, mark, load, upper, speed, cpus, total * _MIB, free * _MIB, util, bits)
        entries.append((entry, age_ms / 1000))
    return VectorMessage(sender, bool(flags & 1), tuple(entries))


def absurdity(entry: LoadEntry) -> str:
    """Why the entry cannot be true, in words; empty when it can. NaN fails every comparison and so is
    caught.
    """
    if not 0 <= entry.load <= MAX_LOAD:
        return f"says its load is {entry.load:g} processes"
    if not 0 <= entry.upper <= MAX_LOAD:
        return f"says its average load is {entry.upper:g} processes"
    if not 0 < entry.cpus <= MAX_CPUS:
        return f"says it has {entry.cpus:g} CPUs"
    if not MIN_SPEED <= entry.speed <= MAX_SPEED:
        return f"says its speed is {entry.speed}"
    if not 0 < entry.mem_total <= MAX_MEMORY_MIB * _MIB:
        return f"says it has {entry.mem_total:g} bytes of memory"
    if not 0 <= entry.mem_free <= entry.mem_total:
        return f"says {entry.mem_free:g} of its {entry.mem_total:g} bytes of memory are free"
    return ""
