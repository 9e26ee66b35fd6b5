"""Reading /proc/PID/maps and the threads of a process.

Only reads; raises ProcessGone when the process has ended.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from migrated.deputy.error import ProcessGone
from migrated.deputy.own_view import read_own_text
from migrated.deputy.x86 import TASK_TOP

SPECIAL = frozenset({"[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]", "[uprobes]"})
_PROTECTION_BITS = {"r": 1, "w": 2, "x": 4}


class Mapping(msgspec.Struct, frozen=True, array_like=True):
    """One line of /proc/PID/maps. `name` is a path, a name in brackets or empty."""

    start: int
    end: int
    flags: str
    offset: int
    inode: int
    name: str

    @property
    def protection(self) -> int:
        """The PROT_ bits."""
        return sum(bit for letter, bit in _PROTECTION_BITS.items() if letter in self.flags)

    @property
    def is_shared(self) -> bool:
        """Whether it was made with MAP_SHARED."""
        return self.flags[3] == "s"

    @property
    def is_special(self) -> bool:
        """Whether the kernel made it (vdso and friends)."""
        return self.name in SPECIAL

    @property
    def is_file(self) -> bool:
        """Whether a file lies behind it."""
        return self.inode != 0


def read_mappings(pid: int) -> list[Mapping]:
    """All mappings below the end of the user half, in address order."""
    return parse_mappings(read_own_text(pid, "maps"))


def parse_mappings(text: str) -> list[Mapping]:
    """Parse the text of /proc/PID/maps."""
    found = []
    for line in text.splitlines():
        fields = line.split(None, 5)
        start, end = (int(part, 16) for part in fields[0].split("-"))
        if start < TASK_TOP:
            name = fields[5].replace("\\012", "\n") if len(fields) > 5 else ""
            found.append(Mapping(start, end, fields[1], int(fields[2], 16), int(fields[4]), name))
    return found


def without(mappings: list[Mapping], *ranges: tuple[int, int]) -> list[Mapping]:
    """The mappings with the address ranges cut out (the kernel may have merged ours with a neighbour)."""
    for low, high in ranges:
        kept = []
        for m in mappings:
            for start, end in ((m.start, min(m.end, low)), (max(m.start, high), m.end)):
                if start < end:
                    offset = m.offset + start - m.start if m.is_file else m.offset
                    kept.append(Mapping(start, end, m.flags, offset, m.inode, m.name))
        mappings = kept
    return mappings


def read_threads(pid: int) -> list[int]:
    """Thread ids, the main thread first."""
    try:
        tids = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessGone(pid) from error
    return sorted(tids, key=lambda tid: (tid != pid, tid))


def read_status(pid: int) -> dict[str, str]:
    """The fields of /proc/PID/status."""
    lines = (line.split(":", 1) for line in read_text(pid, "status").splitlines() if ":" in line)
    return {name: value.strip() for name, value in lines}


def read_stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command name: index 0 is the state (field 3 of proc(5))."""
    return read_text(pid, "stat").rsplit(")", 1)[1].split()


def argument_range(pid: int) -> tuple[int, int]:
    """Start and end of argv and environ, as ps reads them (fields 48 and 51 of proc(5))."""
    fields = read_stat(pid)
    return int(fields[45]), int(fields[48])


def read_timers(pid: int) -> list[dict[str, str]]:
    """The POSIX timers of /proc/PID/timers, one dictionary each with `ID`, `signal`, `notify`, `ClockID`."""
    timers: list[dict[str, str]] = []
    try:
        text = read_text(pid, "timers")
    except (OSError, ProcessGone):
        return []
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "ID":
            timers.append({})
        if timers:
            timers[-1][name] = value.strip()
    return timers


def read_text(pid: int, name: str) -> str:
    """A file of /proc/PID. Raises ProcessGone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="surrogateescape")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessGone(pid) from error
