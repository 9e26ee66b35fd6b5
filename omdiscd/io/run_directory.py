"""The run directory and the lock that makes a daemon the only one on its machine.

Owns making the directories and the locked PID file. The lock belongs to the process and ends with it, also
when it is killed; children do not inherit it. A directory that somebody else could write to is refused.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from omprotocol.errors import EXIT_FAILED, EXIT_REFUSED, MosixError


def make_directory(path: Path, mode: int = 0o755) -> None:
    """Make `path` unless it is there. Raises MosixError `bad-directory` when it is not ours alone to write."""
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        status = path.stat(follow_symlinks=False)
    except OSError as error:
        raise MosixError("bad-directory", f"Cannot make {path}: {error.strerror}.", EXIT_FAILED) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (0, os.geteuid()):
        raise MosixError("bad-directory", f"{path} is not a directory of root's: refused.", EXIT_REFUSED)
    if status.st_mode & 0o022:
        message = f"{path} is writable by others: refused. Cure: chmod go-w {path}"
        raise MosixError("bad-directory", message, EXIT_REFUSED)


class PidFile:
    """The PID file `path`, locked while this object is open."""

    def __init__(self, path: Path) -> None:
        """Take the lock and write our PID. Raises MosixError `already-running` when another daemon has it."""
        self._path = path
        self._fd = self._locked()
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def close(self) -> None:
        """Remove the file and give up the lock."""
        if self._fd >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1

    def _locked(self) -> int:
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
                os.close(fd)
                who = f" (pid {holder})" if holder.isdigit() else ""
                message = f"omdiscd is already running on this machine{who}: {self._path} is locked."
                raise MosixError("already-running", message, EXIT_FAILED) from None
            if self._is_current(fd):
                return fd
            os.close(fd)  # its last holder removed it between our open and our lock

    def _is_current(self, fd: int) -> bool:
        try:
            there = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(fd))
