"""The cluster key: 32 random bytes in one base64 line, readable by root alone.

Owns the file's form and the rules it must meet. Whoever holds the key is a node of the cluster, so a file
that somebody else could read or replace is refused rather than used. Never logs, prints or returns the key
in a message, and imports no cryptography, because commands use it too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from pathlib import Path

from omprotocol.errors import EXIT_REFUSED, MosixError

KEY_BYTES = 32
KEY_MODE = 0o400
_FILE_LIMIT_BYTES = 256


def load(path: Path) -> bytes:
    """Return the 32 bytes of the key file. Raises MosixError: `no-key` when there is none, `bad-key` when
    refused.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise MosixError("no-key", f"There is no cluster key at {path}: make one with 'mosctl key init'.") from None
    except OSError as error:
        raise _refused(path, f"it cannot be opened ({error.strerror})") from None
    try:
        _check_file(path, os.fstat(fd))
        text = os.read(fd, _FILE_LIMIT_BYTES + 1)
    finally:
        os.close(fd)
    _check_parents(path)
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES or len(text) > _FILE_LIMIT_BYTES:
        raise _refused(path, f"it does not hold {KEY_BYTES} bytes as one line of base64")
    return key


def make(path: Path) -> bytes:
    """Make a new key file with mode 0400 and return the key. Raises MosixError `key-exists` rather than
    replace one.

    The file appears complete or not at all: it is written under another name and linked into place.
    """
    key = os.urandom(KEY_BYTES)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, KEY_MODE)
        try:
            os.write(fd, base64.b64encode(key) + b"\n")
            os.fsync(fd)
            os.link(scratch, path)
        finally:
            os.close(fd)
            os.unlink(scratch)
    except FileExistsError:
        message = f"There is a cluster key at {path} already: remove it first if you really want another cluster."
        raise MosixError("key-exists", message, EXIT_REFUSED) from None
    except OSError as error:
        message = f"Cannot make the cluster key {path}: {error.strerror}."
        raise MosixError("no-key", message, EXIT_REFUSED) from None
    return key


def check(path: Path) -> None:
    """Raise MosixError when the key file is missing or breaks a rule; return nothing otherwise."""
    load(path)


def fingerprint(key: bytes) -> str:
    """Return 16 hexadecimal digits that tell two keys apart and say nothing about either."""
    return hashlib.sha256(b"openmosix cluster key fingerprint v1" + key).hexdigest()[:16]


def _check_file(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, "it is not a regular file")
    if status.st_uid not in (0, os.geteuid()):
        raise _refused(path, f"it belongs to uid {status.st_uid}, not to root", f"chown root:root {path}")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise _refused(path, f"its mode {mode:04o} lets others at it", f"chmod 0400 {path}")


def _check_parents(path: Path) -> None:
    for parent in path.resolve().parents:
        status = parent.stat()
        if status.st_uid not in (0, os.geteuid()):
            raise _refused(path, f"its directory {parent} belongs to uid {status.st_uid}, not to root")
        if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
            raise _refused(path, f"its directory {parent} is writable by others", f"chmod go-w {parent}")


def _refused(path: Path, why: str, cure: str = "") -> MosixError:
    advice = f" Cure: {cure}" if cure else ""
    return MosixError("bad-key", f"The cluster key {path} is refused: {why}.{advice}", EXIT_REFUSED)
