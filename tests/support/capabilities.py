"""What this machine can do, asked once per run.

Owns the questions behind the markers root, fuse, criu and lab: each answers with None (can) or with
the reason why not, which becomes the text of the skip. Never leaves anything behind.
"""

import ctypes
import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CRIU_MINIMUM = (4, 1)
# unshare(2) flags: mount, UTS, IPC, PID and network namespaces, as a virtual node has them.
_NODE_NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000


def missing_root() -> str | None:
    """Reason when not root."""
    return None if os.geteuid() == 0 else "needs root"


@functools.cache
def missing_fuse() -> str | None:
    """Reason when /dev/fuse cannot be opened for mounting."""
    if reason := missing_root():
        return reason
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"needs /dev/fuse: {error.strerror}"
    return None


@functools.cache
def missing_lab() -> str | None:
    """Reason when a virtual node cannot be made here."""
    if reason := missing_root():
        return reason
    for command in ("ip", "nsenter"):
        if shutil.which(command) is None:
            return f"needs the command {command}"
    child = os.fork()
    if child == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        os._exit(0 if libc.unshare(_NODE_NAMESPACES) == 0 else 1)
    _, status = os.waitpid(child, 0)
    return None if status == 0 else "needs namespaces (unshare is refused here)"


@functools.cache
def missing_criu() -> str | None:
    """Reason when CRIU with libcriu of at least CRIU_MINIMUM is not in .criu."""
    if reason := missing_lab():
        return reason
    binary, library = CHECKOUT / ".criu/bin/criu", CHECKOUT / ".criu/lib/libcriu.so.2"
    if not binary.exists() or not library.exists():
        return "needs CRIU in .criu (make setup)"
    answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30, check=False)
    found = re.search(r"Version: (\d+)\.(\d+)", answer.stdout)
    if found is None:
        return f"needs a CRIU that starts: {answer.stderr.strip()[:200]}"
    version = (int(found[1]), int(found[2]))
    return None if version >= CRIU_MINIMUM else f"needs CRIU >= 4.1, found {version[0]}.{version[1]}"


MARKERS = {"root": missing_root, "fuse": missing_fuse, "lab": missing_lab, "criu": missing_criu}
