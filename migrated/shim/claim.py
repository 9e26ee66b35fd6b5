"""The claim of a home shim and its children on one process: nobody else touches it while the claim is held.

A locked file in the shim's directory on a tmpfs.  The lock is shared by every child that can act on the process or on
home's files, so that it is free only when all of them are dead.  Its one byte says whether anything of the copy had an
effect at home: after that the original is history and must never run again.  Survives the shim's death, not a reboot.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import time
from pathlib import Path

from omprotocol.errors import MosixError

_NAME = "claim"
_POLL_S = 0.02


class Claimed(MosixError):
    """Another shim, or what is left of one, has the process."""

    def __init__(self, pid: int) -> None:
        super().__init__("busy", f"Process {pid} is being moved already.", 255)


class Claim:
    """A held claim."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._memory = mmap.mmap(fd, 1)
        self.fd = fd

    @classmethod
    def take(cls, directory: Path, pid: int, timeout_s: float = 0.0) -> Claim:
        """Claim the process of `directory` (made when missing), waiting up to `timeout_s`.  Raises Claimed, OSError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / _NAME
        deadline = time.monotonic() + timeout_s
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(path, fd):
                    if os.fstat(fd).st_size == 0:
                        os.ftruncate(fd, 1)
                    return cls(path, fd)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(fd)
                    raise Claimed(pid) from None
            os.close(fd)
            time.sleep(_POLL_S)

    @property
    def had_effect(self) -> bool:
        """Whether the copy has had an effect at home."""
        return self._memory[0] != 0

    def effect(self) -> None:
        """The copy is about to have an effect at home.  Also called in children."""
        if not self._memory.closed:
            self._memory[0] = 1

    def forget_effects(self) -> None:
        """A new copy: nothing of it has had an effect yet."""
        self._memory[0] = 0

    def release(self) -> None:
        """Give it up and remove the file.  Children that still hold it keep their lock on nothing."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._memory.close()
        os.close(self.fd)


def is_free(directory: Path) -> bool:
    """Whether nobody holds the claim of `directory`."""
    try:
        fd = os.open(directory / _NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _is_at(path: Path, fd: int) -> bool:
    """Whether `path` still is the file of `fd`: its last holder removes it."""
    try:
        there, ours = path.stat(), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
