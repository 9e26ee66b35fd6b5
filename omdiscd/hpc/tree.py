"""What the hpc tree is made of: files that are functions, and directories fixed or listed anew.

Owns the two kinds of entries and looking them up by path. Nothing here knows FUSE; nothing is cached, because
every look-up asks the daemon's present state.
"""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Visitor(NamedTuple):
    """The process that uses the tree: effective uid and gid, and its PID (0 when it lives outside our PIDs)."""

    uid: int
    gid: int
    pid: int

    @property
    def is_admin(self) -> bool:
        """Root steers everything; the mode bits keep others out before this is asked."""
        return self.uid == 0


Content = str | bytes
Read = Callable[[Visitor], Content | Awaitable[Content]]
Write = Callable[[Visitor, str], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class File:
    """A file. `mode` is the permission bits; without `read` or `write` that direction is refused.

    `read` gives the whole content and is asked once per opening; `write` gets the text of one write(2). Both
    may be functions or coroutines and raise MosixError.
    """

    mode: int
    read: Read | None = None
    write: Write | None = None
    uid: int = 0

    @property
    def full_mode(self) -> int:
        return stat.S_IFREG | self.mode


class Directory:
    """A directory. Names come and go with the daemon's state."""

    full_mode = stat.S_IFDIR | 0o555
    uid = 0
    has_only_directories = False
    """Then a listing need not build every entry to know what it is."""

    def names(self, visitor: Visitor) -> Iterable[str]:
        """Names in it now."""
        raise NotImplementedError

    def entry(self, name: str, visitor: Visitor) -> Entry | None:
        """What has this name now, or None."""
        raise NotImplementedError


Entry = File | Directory


class Fixed(Directory):
    """A directory whose names never change."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = dict(entries)

    def names(self, visitor: Visitor) -> Iterable[str]:
        return self._entries

    def entry(self, name: str, visitor: Visitor) -> Entry | None:
        return self._entries.get(name)


class Numbered(Directory):
    """A directory of numbers (nodes, PIDs); `make` builds the entry of a number that `numbers` lists.

    `self_name` is one more name, not listed, that stands for the visitor's own PID.
    """

    has_only_directories = True

    def __init__(
        self,
        numbers: Callable[[], Iterable[int]],
        exists: Callable[[int], bool],
        make: Callable[[int], Directory],
        self_name: str = "",
    ) -> None:
        self._numbers = numbers
        self._exists = exists
        self._make = make
        self._self_name = self_name

    def names(self, visitor: Visitor) -> Iterable[str]:
        return map(str, sorted(self._numbers()))

    def entry(self, name: str, visitor: Visitor) -> Entry | None:
        if self._self_name and name == self._self_name:
            number = visitor.pid
        elif name.isascii() and name.isdecimal() and len(name) <= 10 and name == str(int(name)):
            number = int(name)
        else:
            return None
        return self._make(number) if number > 0 and self._exists(number) else None


Path = tuple[str, ...]


def find(root: Directory, path: Path, visitor: Visitor) -> Entry | None:
    """The entry at `path`, or None."""
    entry: Entry = root
    for name in path:
        if not isinstance(entry, Directory):
            return None
        below = entry.entry(name, visitor)
        if below is None:
            return None
        entry = below
    return entry
