"""What a jail is to be like: the facts of the process at home, and where its files come from.

Plain data that travels as JSON from the home node. The numbers are home's; policy (what may be mounted,
where) is never taken from here but from the node that builds the jail.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

MID_PATTERN = re.compile(r"[0-9a-f]{8,64}")


class JailSpec(msgspec.Struct, kw_only=True):
    """A jail for one process and its descendants. All ids are decimal and as at home.

    root: "mfs" the home node's files through a FUSE connection; "local" this node's own root as it is (a
    family that came home behind its deputy: only a PID and a mount namespace); "bind" this node's root, but
    with all the separation of "mfs" (tests).
    """

    mid: str  # the migration's id, lower-case hex
    pid: int
    ppid: int
    pgid: int
    sid: int
    work_dir: str  # guest-local directory of this guest, on a tmpfs; made if missing
    images_dir: str  # where the images are, on a tmpfs
    max_id: int = 0  # highest PID or TID of the family; 0: taken from the numbers above
    uid: int = 0
    gid: int = 0
    groups: list[int] = []
    hostname: str = ""
    domainname: str = ""
    root: Literal["mfs", "local", "bind"] = "mfs"
    dfsa: list[str] = []  # directories bound from this host, absolute
    ctty: bool = False  # the terminal handed in becomes the controlling one of the session
    tty_index: int | None = None  # instead of a terminal handed in: the jail makes its own /dev/pts/<tty_index>
    foreground: bool = False  # the process's group is that terminal's foreground group
    freezer_dir: str | None = None  # a cgroup of this node for the family; None: one is made
    max_read_bytes: int = 1 << 20

    def highest_id(self) -> int:
        """The highest number that belongs to the family or its relatives."""
        return max(self.max_id, self.pid, self.ppid, self.pgid, self.sid)

    def check(self) -> None:
        """ValueError when a number or a name is out of range."""
        if not MID_PATTERN.fullmatch(self.mid):
            raise ValueError("the id of the migration is not hexadecimal")
        if self.pid < 2 or min(self.ppid, self.pgid, self.sid, self.uid, self.gid) < 0:
            raise ValueError("a process id of the guest is out of range")
        if self.tty_index is not None and (self.tty_index < 0 or self.root == "local"):
            raise ValueError("a terminal of the jail's own is not possible here")
        if any(not path.startswith("/") or ".." in path.split("/") or path == "/" for path in self.dfsa):
            raise ValueError("a DFSA directory is not an absolute path")
