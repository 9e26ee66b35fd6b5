"""The difference of two address spaces, as steps that turn one into the other.

Pure: works on lists of mappings. Contents are not its business, only what is mapped where and how.
"""

from __future__ import annotations

import itertools

import msgspec

from migrated.deputy.mappings import Mapping


class Unmap(msgspec.Struct, frozen=True):
    """munmap."""

    start: int
    end: int


class Protect(msgspec.Struct, frozen=True):
    """mprotect to the PROT_ bits."""

    start: int
    end: int
    protection: int


class Map(msgspec.Struct, frozen=True):
    """mmap at a fixed place: a file from `offset`, or anonymous memory when `path` is empty."""

    start: int
    end: int
    protection: int
    path: str
    offset: int
    is_shared: bool


class Grow(msgspec.Struct, frozen=True):
    """Let the kernel extend the stack down to `start`."""

    start: int
    end: int


Step = Unmap | Protect | Map | Grow


def layout_steps(present: list[Mapping], wanted: list[Mapping]) -> list[Step]:
    """Steps that make `present` look like `wanted`, in the order in which they can be done.

    The kernel's own mappings are left alone. [heap] is taken as it is: brk comes first.
    """
    edges = sorted({edge for mapping in (*present, *wanted) for edge in (mapping.start, mapping.end)})
    old, new = _Cursor(present), _Cursor(wanted)
    steps: list[Step] = []
    for start, end in itertools.pairwise(edges):
        was, becomes = old.at(start), new.at(start)
        if (was is not None and was.is_special) or (becomes is not None and becomes.is_special):
            continue
        if becomes is None:
            if was is not None:
                steps.append(Unmap(start, end))
        elif was is not None and _backing(was, start) == _backing(becomes, start):
            if was.protection != becomes.protection:
                steps.append(Protect(start, end, becomes.protection))
        elif was is None and becomes.name == "[stack]":
            steps.append(Grow(start, end))
        else:
            path, offset, is_shared = _backing(becomes, start)
            steps.append(Map(start, end, becomes.protection, path, offset, is_shared))
    return _merged(steps)


def layout_reasons(present: list[Mapping], wanted: list[Mapping]) -> list[str]:
    """Why the difference cannot be carried over; empty when it can."""
    reasons = []
    ours = {(m.name, m.start, m.end) for m in present if m.is_special}
    theirs = {(m.name, m.start, m.end) for m in wanted if m.is_special}
    if ours != theirs:
        reasons.append("its kernel mappings (vdso) lie elsewhere")
    if any(m.is_shared and is_memory_shared(m) for m in (*wanted, *present)):
        reasons.append("shared memory")
    for step in layout_steps(present, wanted):
        if isinstance(step, Map) and step.path.endswith(" (deleted)"):
            reasons.append(f"it mapped {step.path} while away")
    return reasons


def is_memory_shared(mapping: Mapping) -> bool:
    """Whether the body's content of a shared mapping is not in a file of home: anonymous, System V, memfd, deleted."""
    if not mapping.is_file or mapping.name.endswith(" (deleted)"):
        return True
    return mapping.name.startswith(("/dev/zero", "/SYSV", "/memfd:", "/dev/shm/", "anon_inode:"))


def _backing(mapping: Mapping, address: int) -> tuple[str, int, bool]:
    if not mapping.is_file:
        return "", 0, mapping.is_shared
    return mapping.name, mapping.offset + address - mapping.start, mapping.is_shared


class _Cursor:
    """Finds the mapping at rising addresses."""

    def __init__(self, mappings: list[Mapping]) -> None:
        self._mappings = mappings
        self._index = 0

    def at(self, address: int) -> Mapping | None:
        while self._index < len(self._mappings) and self._mappings[self._index].end <= address:
            self._index += 1
        if self._index == len(self._mappings) or self._mappings[self._index].start > address:
            return None
        return self._mappings[self._index]


def _merged(steps: list[Step]) -> list[Step]:
    merged: list[Step] = []
    for step in steps:
        last = merged[-1] if merged else None
        if isinstance(last, Unmap) and isinstance(step, Unmap) and last.end == step.start:
            merged[-1] = Unmap(last.start, step.end)
        else:
            merged.append(step)
    # What goes away makes room for what comes.
    return sorted(merged, key=lambda step: not isinstance(step, Unmap))
