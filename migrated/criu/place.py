"""Which CRIU is used on this node.

Looks in OPENMOSIX_CRIU_DIR, <checkout>/.criu, beside an installed environment, /usr/lib/openmosix/criu, and
then for the system's own, and takes the first that is complete and at least 4.1. A directory of ours holds
bin/criu and lib/libcriu.so.2. Always absolute paths: neither the binary nor the library is searched for by the
loader. Blocks for one `criu --version`.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from omprotocol.errors import EXIT_FAILED, MosixError

MINIMUM_VERSION = (4, 1)
_SYSTEM_LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib64",
    "/usr/local/lib",
)


@dataclass(frozen=True)
class CriuPlace:
    """A usable CRIU. `loader` is what must stand before the binary on a command line (the jail's own
    ld.so).
    """

    binary: str
    library: str
    version: tuple[int, ...]
    loader: tuple[str, ...] = ()
    plugins: str | None = None  # where CRIU looks for plug-ins; None: where it was built to look

    def command(self, *arguments: str) -> list[str]:
        """The command line; the node's configuration files of CRIU are never read."""
        return [*self.loader, self.binary, "--no-default-config", *arguments]

    def environment(self) -> dict[str, str]:
        """The environment CRIU runs with: nothing of ours can turn into one of its options."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        if self.plugins is not None:
            environment["CRIU_LIBS_DIR"] = self.plugins
        return environment


@functools.lru_cache(maxsize=1)
def find_criu() -> CriuPlace:
    """The CRIU of this node. MosixError("no-criu") with what was looked at when there is none that will do."""
    looked: list[str] = []
    for binary, library in _candidates():
        if not os.access(binary, os.X_OK):
            looked.append(f"{binary}: not there")
        elif not library.exists():
            looked.append(f"{library}: not there")
        else:
            version = _version_of(binary)
            if version >= MINIMUM_VERSION:
                return CriuPlace(str(binary), str(library), version)
            looked.append(f"{binary}: version {'.'.join(map(str, version)) or 'unknown'}, 4.1 or newer is needed")
    raise MosixError(
        "no-criu", "No usable CRIU on this node, so nothing can migrate: " + "; ".join(looked), EXIT_FAILED
    )


def _candidates() -> list[tuple[Path, Path]]:
    directories = [
        Path(__file__).resolve().parents[2] / ".criu",
        Path(sys.prefix).parent / "criu",
        Path("/usr/lib/openmosix/criu"),
    ]
    if given := os.environ.get("OPENMOSIX_CRIU_DIR"):
        directories.insert(0, Path(given).resolve())
    pairs = [(directory / "bin" / "criu", directory / "lib" / "libcriu.so.2") for directory in directories]
    system = Path(
        shutil.which("criu", path="/usr/sbin:/usr/bin:/sbin:/usr/local/sbin:/usr/local/bin") or "/usr/sbin/criu"
    )
    libraries = [Path(directory) / "libcriu.so.2" for directory in _SYSTEM_LIBRARIES]
    pairs.append((system, next((path for path in libraries if path.exists()), libraries[0])))
    return pairs


def _version_of(binary: Path) -> tuple[int, ...]:
    try:
        run = subprocess.run([str(binary), "--version"], capture_output=True, timeout=30, check=False, text=True)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"Version:\s*(\d+(?:\.\d+)*)", run.stdout)
    return tuple(int(part) for part in found.group(1).split(".")) if found else ()
