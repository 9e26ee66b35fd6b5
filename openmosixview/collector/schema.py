"""The file format of a history: tables, version, limits.

Owns opening a history and saying clearly why it cannot be opened. A history is one SQLite file in WAL mode: a
killed collector leaves a file that the next one goes on with.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from omprotocol.errors import EXIT_FAILED, EXIT_NOT_FOUND, MosixError

VERSION = 1
APPLICATION_ID = 0x6F6D6F78
MAX_BYTES = 256 << 20
PAGE_BYTES = 1024
"""Small pages: a sample of 64 nodes changes one or two of them, and every change is written twice."""
WAIT_S = 10.0
"""How long a writer may wait for another one."""
FILE_NAME = "history.db"
SAVED_DIRECTORY = "saved"

# Time in front: all samples of one moment lie in one or two pages, so that a sample costs few bytes of writing.
_TABLES = """
CREATE TABLE samples(
    step INTEGER NOT NULL, t INTEGER NOT NULL, node INTEGER NOT NULL,
    load INTEGER NOT NULL, load_min INTEGER, load_max INTEGER,
    mem INTEGER NOT NULL, mem_min INTEGER, mem_max INTEGER,
    PRIMARY KEY(step, t, node)) WITHOUT ROWID;
CREATE TABLE nodes(
    t INTEGER NOT NULL, node INTEGER NOT NULL, address TEXT NOT NULL,
    cpus INTEGER NOT NULL, speed INTEGER NOT NULL, total_bytes INTEGER NOT NULL,
    PRIMARY KEY(node, t)) WITHOUT ROWID;
CREATE TABLE processes(t INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE marks(t REAL PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE moves(
    t INTEGER NOT NULL, pid INTEGER NOT NULL, from_node INTEGER NOT NULL, to_node INTEGER NOT NULL,
    command TEXT NOT NULL, PRIMARY KEY(t, pid)) WITHOUT ROWID;
"""


def open_history(path: Path, create: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode. Blocks. Raises MosixError `no-history`, `history-version`, `history`."""
    if not create and not path.exists():
        raise MosixError("no-history", f"There is no history yet ({path}): start the collector.", EXIT_NOT_FOUND)
    try:
        if create:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = "rwc" if create else "rw"
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", WAIT_S, isolation_level=None, uri=True)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from None
    try:
        _prepare(connection, path, create)
    except sqlite3.Error as error:
        connection.close()
        raise _unusable(path, error) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, create: bool) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    is_empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if is_empty and create:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        try:
            os.chmod(path, 0o600)
        except OSError:
            pass
        connection.executescript(
            f"BEGIN IMMEDIATE;{_TABLES}PRAGMA user_version = {VERSION};PRAGMA application_id = {APPLICATION_ID};COMMIT;"
        )
    elif application != APPLICATION_ID or version != VERSION:
        message = (
            f"The history {path} is of version {version}, this program understands version {VERSION}: "
            "it is left as it is; move it away to begin a new one."
        )
        raise MosixError("history-version", message, EXIT_FAILED)
    # A kill loses nothing; a power failure at most the last seconds.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA max_page_count = {MAX_BYTES // PAGE_BYTES}")


def _unusable(path: Path, error: Exception) -> MosixError:
    return MosixError("history", f"The history {path} cannot be used: {error}.", EXIT_FAILED)
