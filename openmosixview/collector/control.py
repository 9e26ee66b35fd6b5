"""The collector as others see it: is it running, start it, stop it, set a checkpoint, save the history.

Owns the directory, the lock that says that a collector runs, and the names of saved histories. The lock and not
a number in a file is the truth: a PID of yesterday is never signalled.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from omprotocol.errors import EXIT_FAILED, EXIT_NOT_FOUND, EXIT_TIMEOUT, MosixError
from omprotocol.paths import Paths
from openmosixview.collector.reading import span
from openmosixview.collector.schema import FILE_NAME, SAVED_DIRECTORY, open_history
from openmosixview.collector.writing import STEPS_S, add_mark, save_and_begin_anew

LOCK_NAME = "collector.pid"
STOP_S = 20.0
START_S = 30.0
LATE_S = 6 * STEPS_S[0]
"""A running collector whose last sample is older than this is late."""
_SAVED_NAME = re.compile(r"history-[0-9]{8}-[0-9]{6}\.db")


def default_directory(paths: Paths) -> Path:
    """Where the collector of this user keeps its files: never a shared place such as /tmp."""
    if os.geteuid() == 0:
        return paths.state_dir / "collector"
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "openmosix/collector"


class CollectorControl:
    """The collector of one directory. All methods block for a moment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def history(self) -> Path:
        """The running history."""
        return self.directory / FILE_NAME

    def take_lock(self) -> int:
        """Become the collector of this directory: the descriptor to keep open. Raises MosixError `running`."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self.directory / LOCK_NAME, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise MosixError("running", "A collector is running already.", EXIT_FAILED) from None
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        return fd

    def running_pid(self) -> int:
        """PID of the running collector, 0 when none runs."""
        try:
            fd = os.open(self.directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return 0
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(fd, 32).split()
            return int(text[0]) if text and text[0].isdigit() else 0
        finally:
            os.close(fd)
        return 0

    def state(self) -> dict[str, Any]:
        """For the lamp: `state` on, late or off, with a word why."""
        if not self.running_pid():
            return {"state": "off", "message": "The collector is off."}
        try:
            connection = open_history(self.history)
        except MosixError as error:
            return {"state": "late", "message": error.message}
        try:
            known = span(connection)
        except sqlite3.Error as error:
            return {"state": "late", "message": f"The history cannot be read: {error}."}
        finally:
            connection.close()
        if known is None or time.time() - known[1] > LATE_S:
            return {"state": "late", "message": "The collector runs but takes no samples: see the system's log."}
        return {"state": "on", "message": "The collector is on."}

    def start(self) -> str:
        """Start a collector in the background. Raises MosixError with its words when it does not start."""
        words = [sys.executable, "-m", "openmosixview.collector.command", "-d", "--directory", str(self.directory)]
        try:
            ended = subprocess.run(words, capture_output=True, text=True, timeout=START_S, check=False, cwd="/")
        except subprocess.TimeoutExpired:
            raise MosixError("timeout", "The collector did not start in time.", EXIT_TIMEOUT) from None
        if ended.returncode:
            said = ended.stderr.strip().splitlines()
            raise MosixError("failed", said[-1] if said else "The collector did not start.", ended.returncode)
        return "collector started"

    def stop(self) -> str:
        """Stop the collector; returns when it has ended. Raises MosixError `not-running` or `timeout`."""
        pid = self.running_pid()
        if not pid:
            raise MosixError("not-running", "No collector is running.", EXIT_NOT_FOUND)
        try:
            os.kill(pid, signal.SIGTERM)
        except PermissionError:
            raise MosixError("permission", "The collector belongs to another user.", 3) from None
        except ProcessLookupError:
            return "collector stopped"
        deadline = time.monotonic() + STOP_S
        while self.running_pid() == pid:
            if time.monotonic() > deadline:
                raise MosixError("timeout", f"The collector ({pid}) has not ended in time.", EXIT_TIMEOUT)
            time.sleep(0.05)
        return "collector stopped"

    def checkpoint(self, text: str = "") -> str:
        """Set a mark in the graphs. Raises MosixError."""
        self._on_history(lambda connection: add_mark(connection, round(time.time(), 3), text or "checkpoint"))
        return "checkpoint set"

    def save(self) -> str:
        """Save the history under a name with the date and begin a new one. Raises MosixError."""
        name = f"history-{time.strftime('%Y%m%d-%H%M%S')}.db"
        saved = self.directory / SAVED_DIRECTORY / name
        if saved.exists():
            raise MosixError("failed", f"{saved} is there already: wait a second.")
        self._on_history(lambda connection: save_and_begin_anew(connection, saved))
        return f"history saved as {name}"

    def saved(self) -> list[str]:
        """Names of saved histories, newest first."""
        try:
            names = os.listdir(self.directory / SAVED_DIRECTORY)
        except OSError:
            return []
        return sorted((name for name in names if _SAVED_NAME.fullmatch(name)), reverse=True)

    def history_named(self, name: str) -> Path:
        """The running history for "", a saved one by its name. Raises MosixError `no-history`."""
        if not name:
            return self.history
        if not _SAVED_NAME.fullmatch(name):
            raise MosixError("no-history", "There is no saved history of that name.", EXIT_NOT_FOUND)
        return self.directory / SAVED_DIRECTORY / name

    def _on_history(self, change: Any) -> None:
        connection = open_history(self.history)
        try:
            change(connection)
        except (sqlite3.Error, OSError) as error:
            raise MosixError("history", f"The history could not be changed: {error}.") from None
        finally:
            connection.close()
