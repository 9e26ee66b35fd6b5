"""The descriptor table of a process, each entry with the class that decides how it moves.

Files move by their path through the home's file system; pipes and terminals stay at home and are relayed;
character devices without state are opened anew; everything else is a reason not to move.
Never opens a descriptor of the process: only readlink, stat through /proc and fdinfo.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal

import msgspec

from migrated.survey.facts import ProcessVanished

Kind = Literal["file", "directory", "pipe", "fifo", "tty", "null", "device", "socket", "anon", "deleted"]

_STATELESS_DEVICES = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9)}  # null zero full random urandom
_ACCESS_MASK = os.O_ACCMODE


class Descriptor(msgspec.Struct, frozen=True):
    """One open descriptor: its number, what it leads to, and how it was opened."""

    fd: int
    kind: Kind
    target: str
    inode: int
    device: int
    special_device: int
    flags: int
    position: int
    mount_id: int

    @property
    def access(self) -> int:
        """os.O_RDONLY, os.O_WRONLY or os.O_RDWR."""
        return self.flags & _ACCESS_MASK

    @property
    def key(self) -> str:
        """CRIU's name of the description (`--external`, `--inherit-fd`)."""
        if self.kind == "pipe":
            return f"pipe:[{self.inode}]"
        if self.kind == "tty":
            return f"tty[{self.special_device:x}:{self.device:x}]"
        return self.target.lstrip("/")


def read_descriptors(pid: int) -> list[Descriptor]:
    """Every open descriptor of `pid` by number.  Raises ProcessVanished."""
    try:
        numbers = sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError) as gone:
        raise ProcessVanished(pid) from gone
    found = (_describe(pid, number) for number in numbers)
    return [entry for entry in found if entry is not None]


def mount_ids(pid: int) -> set[int]:
    """Mount ids visible in the process's mount namespace.  Raises ProcessVanished."""
    try:
        text = Path(f"/proc/{pid}/mountinfo").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError) as gone:
        raise ProcessVanished(pid) from gone
    return {int(line.split(" ", 1)[0]) for line in text.splitlines()}


def _describe(pid: int, number: int) -> Descriptor | None:
    path = f"/proc/{pid}/fd/{number}"
    try:
        target = os.readlink(path)
        info = os.stat(path)
        text = Path(f"/proc/{pid}/fdinfo/{number}").read_text(errors="replace")
    except OSError:
        return None  # closed between listing and looking: it is not part of the table any more
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return Descriptor(
        fd=number,
        kind=_kind(target, info),
        target=target,
        inode=info.st_ino,
        device=info.st_dev,
        special_device=info.st_rdev,
        flags=int(fields.get("flags", "0"), 8),
        position=int(fields.get("pos", "0")),
        mount_id=int(fields.get("mnt_id", "0")),
    )


def _kind(target: str, info: os.stat_result) -> Kind:
    mode = info.st_mode
    if stat.S_ISFIFO(mode):
        return "pipe" if target.startswith("pipe:[") else "fifo"
    if stat.S_ISSOCK(mode) or target.startswith("socket:["):
        return "socket"
    if target.startswith("anon_inode:"):
        return "anon"
    if stat.S_ISCHR(mode):
        number = (os.major(info.st_rdev), os.minor(info.st_rdev))
        if number in _STATELESS_DEVICES:
            return "null"
        return "tty" if 136 <= number[0] <= 143 or (number[0] == 4 and number[1] > 0) else "device"
    if stat.S_ISBLK(mode):
        return "device"
    if stat.S_ISDIR(mode):
        return "directory"
    return "deleted" if info.st_nlink == 0 or target.endswith(" (deleted)") else "file"
