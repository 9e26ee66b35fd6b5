"""Numbers of the entries that the kernel knows at present.

Owns the table from inode number to path and its look-up counts. An entry leaves the table when the kernel
forgets it, so the table is as large as the kernel's own.
"""

from __future__ import annotations

import errno

from migrated.mfs.fuse_constants import ROOT_ID
from omdiscd.hpc.tree import Path

MAX_INODES = 262144
"""More look-ups than this are refused until the kernel forgets some."""


class Inodes:
    """Inode numbers by path and back."""

    def __init__(self) -> None:
        self._path_of: dict[int, Path] = {ROOT_ID: ()}
        self._number_of: dict[Path, int] = {(): ROOT_ID}
        self._lookups: dict[int, int] = {}
        self._next = ROOT_ID + 1

    def __len__(self) -> int:
        return len(self._path_of)

    def path(self, number: int) -> Path:
        """The path of a number. Raises OSError ESTALE for one the kernel should have forgotten."""
        try:
            return self._path_of[number]
        except KeyError:
            raise OSError(errno.ESTALE, "unknown inode") from None

    def look_up(self, path: Path) -> int:
        """The number of a path, counted as one look-up. Raises OSError ENFILE when the table is full."""
        number = self._number_of.get(path)
        if number is None:
            if len(self._path_of) >= MAX_INODES:
                raise OSError(errno.ENFILE, "too many inodes")
            number, self._next = self._next, self._next + 1
            self._path_of[number] = path
            self._number_of[path] = number
        self._lookups[number] = self._lookups.get(number, 0) + 1
        return number

    def forget(self, number: int, lookups: int) -> None:
        """The kernel drops so many look-ups of a number."""
        if number == ROOT_ID or number not in self._path_of:
            return
        left = self._lookups.get(number, 0) - lookups
        if left > 0:
            self._lookups[number] = left
            return
        self._lookups.pop(number, None)
        del self._number_of[self._path_of.pop(number)]
