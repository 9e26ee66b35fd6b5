"""CRIU's cache of kernel features, `/run/criu.kdat`.

CRIU run with another real uid cannot probe the kernel itself (libnftables ends such a caller), so the cache
must be there first. CRIU writes it only when /run is a tmpfs; where it is not, the cache is made in a
private mount namespace and put in place from there. A cache older than the last boot or the CRIU binary is
made again. Blocks up to a second.
"""

from __future__ import annotations

import os
import signal

from migrated.jail import kernel
from omprotocol.errors import MosixError

from .place import CriuPlace

KDAT_PATH = "/run/criu.kdat"


def ensure_kdat(place: CriuPlace) -> None:
    """See that a cache for this kernel and this CRIU is at KDAT_PATH. Needs real root;
    MosixError("no-criu") if not even CRIU as root can make one.
    """
    if not _usable(place):
        content = _probe(place)
        temporary = f"{KDAT_PATH}.{os.getpid()}"
        fd = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as file:
            file.write(content)
        os.rename(temporary, KDAT_PATH)


def _usable(place: CriuPlace) -> bool:
    try:
        status = os.stat(KDAT_PATH, follow_symlinks=False)
    except OSError:
        return False
    return (
        status.st_uid == 0
        and status.st_size > 0
        and status.st_mtime > max(_boot_time(), os.stat(place.binary).st_ctime)
    )


def _boot_time() -> float:
    with open("/proc/stat", encoding="ascii") as file:
        return next((float(line.split()[1]) for line in file if line.startswith("btime ")), 0.0)


def _probe(place: CriuPlace) -> bytes:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            _probe_in_namespace(place, writer)
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as file:
        content = file.read()
    os.waitpid(pid, 0)
    if not content:
        raise MosixError("no-criu", f"{place.binary} could not find out what this kernel offers; try `criu check`.")
    return content


def _probe_in_namespace(place: CriuPlace, writer: int) -> None:
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", "/run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            argv = place.command("check")
            os.execve(argv[0], argv, place.environment())
        finally:
            os._exit(127)
    os.waitpid(child, 0)
    with open(KDAT_PATH, "rb") as file:
        os.write(writer, file.read())
