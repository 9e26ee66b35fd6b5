"""Reading the descriptors, limits and other facts of a process from /proc.

Only reads. Numbers of RLIMIT_ and their lines from proc(5) and asm-generic/resource.h.
"""

from __future__ import annotations

import os
import stat

from migrated.deputy.body_state import OpenFile
from migrated.deputy.error import ProcessGone
from migrated.deputy.mappings import read_text
from migrated.deputy.own_view import read_own_links
from migrated.deputy.ptrace import own_call

_SYS_KCMP = 312
_KCMP_FILE = 0
_TTY_MAJORS = frozenset({4, 5, 204, *range(136, 144)})
_LIMITS = (
    "Max cpu time",
    "Max file size",
    "Max data size",
    "Max stack size",
    "Max core file size",
    "Max resident set",
    "Max processes",
    "Max open files",
    "Max locked memory",
    "Max address space",
    "Max file locks",
    "Max pending signals",
    "Max msgqueue size",
    "Max nice priority",
    "Max realtime priority",
    "Max realtime timeout",
)
_INFINITY = (1 << 64) - 1
_DETAILS = ("tfd:", "eventfd-count:", "sigmask:")


def read_open_files(pid: int) -> list[OpenFile]:
    """All descriptors in ascending order. Raises ProcessGone."""
    try:
        numbers = sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessGone(pid) from error
    links = read_own_links(pid, [f"fd/{fd}" for fd in numbers])
    found: list[OpenFile] = []
    for fd, link in zip(numbers, links, strict=True):
        try:
            mode = os.stat(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError as error:
            raise ProcessGone(pid) from error
        info = read_text(pid, f"fdinfo/{fd}")
        fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        twin = next((old.twin for old in found if old.link == link and _same(pid, old.fd, fd)), fd)
        details = sorted(" ".join(line.split()[:6]) for line in info.splitlines() if line.startswith(_DETAILS))
        flags, offset = int(fields["flags"], 8), int(fields["pos"])
        found.append(OpenFile(fd, link, _kind(mode, link), flags, offset, twin, details, mode.st_ino))
    return found


def _same(pid: int, first: int, second: int) -> bool:
    try:
        return own_call(_SYS_KCMP, pid, pid, _KCMP_FILE, first, second) == 0
    except OSError:
        return False


def _kind(mode: os.stat_result, link: str) -> str:
    if stat.S_ISFIFO(mode.st_mode):
        return "pipe"
    if stat.S_ISSOCK(mode.st_mode):
        return "socket"
    if stat.S_ISCHR(mode.st_mode):
        return "tty" if os.major(mode.st_rdev) in _TTY_MAJORS else "device"
    if stat.S_ISDIR(mode.st_mode):
        return "directory"
    return "anonymous" if link.startswith("anon_inode:") else "file"


def read_limits(pid: int) -> dict[int, tuple[int, int]]:
    """RLIMIT_ number -> (soft, hard)."""
    found: dict[int, tuple[int, int]] = {}
    for line in read_text(pid, "limits").splitlines():
        for number, name in enumerate(_LIMITS):
            if line.startswith(name + " "):
                soft, hard = line[len(name) :].split()[:2]
                found[number] = (_limit(soft), _limit(hard))
    return found


def _limit(text: str) -> int:
    return _INFINITY if text == "unlimited" else int(text)
