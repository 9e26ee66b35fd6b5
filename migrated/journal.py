"""The home node's durable memory of its processes that are moving or away: one file per process.

Written by the home shim before every step that changes who may run (the commit protocol's journal), read by
the daemon at its start.  A record is replaced atomically and is on the disk, with its directory, when
`Journal.write` returns.  Blocking; never used inside the daemon's loop except at start.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from migrated.core.ledger import State

_SUFFIX = ".json"


class Ending(msgspec.Struct, frozen=True):
    """How the body's life ended: by itself with exit status `status`, or by the signal `status`."""

    exited: bool
    status: int


class Record(msgspec.Struct):
    """What must survive a crash about one process.  `freezer` and `hollow` are the deputy room's own records."""

    pid: int
    start_ticks: int
    boot_id: str
    migration_id: str
    epoch: int
    state: State
    home: int
    node: int
    address: str
    uid: int
    command: str
    freezer: dict[str, Any] | None = None
    hollow: dict[str, Any] | None = None
    moves: int = 0
    ending: Ending | None = None


class Journal:
    """Records under one directory, named by PID."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, record: Record) -> None:
        """Make `record` durable.  Raises OSError when it cannot be: then nothing may be decided on it."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        final = self.directory / f"{record.pid}{_SUFFIX}"
        draft = self.directory / f".{record.pid}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(record))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(draft, final)
        self._sync_directory()

    def remove(self, pid: int) -> None:
        """Forget the process; quiet when it is not known."""
        try:
            (self.directory / f"{pid}{_SUFFIX}").unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        self._sync_directory()

    def read(self, pid: int) -> Record | None:
        """The record of `pid`, or None when there is none or it is unreadable."""
        try:
            return msgspec.json.decode((self.directory / f"{pid}{_SUFFIX}").read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError):
            return None

    def records(self) -> list[Record]:
        """Every readable record, by PID.  A torn or foreign file is skipped: it was never a decision."""
        if not self.directory.is_dir():
            return []
        pids = sorted(int(path.stem) for path in self.directory.glob(f"*{_SUFFIX}") if path.stem.isdigit())
        found = (self.read(pid) for pid in pids)
        return [record for record in found if record is not None]

    def _sync_directory(self) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
