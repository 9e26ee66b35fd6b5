"""CRIU as the jail sees it: the binary, every library it needs, their loader and the kernel-feature cache.

The root of a jail belongs to the home node, which must not supply a single instruction to CRIU (it runs as
root). So the pieces are gathered once in a directory of this node and bound into the jail's own /dev.
Gathered again when the binary changes. Needs root; blocks for some file copies the first time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from migrated.criu.kdat import KDAT_PATH, ensure_kdat
from migrated.criu.place import CriuPlace
from omprotocol.errors import MosixError

JAIL_DIR = "/dev/.om"
_IN_JAIL = f"{JAIL_DIR}/criu"
_LOADER = "/lib64/ld-linux-x86-64.so.2"  # x86-64, as the whole deputy is


def gather(place: CriuPlace, run_dir: str) -> str:
    """The directory with bin/, lib/ and criu.kdat below `run_dir`. MosixError("no-criu") when a library is
    missing.
    """
    ensure_kdat(place)
    status = os.stat(place.binary)
    name = f"criu-{status.st_ino:x}-{status.st_mtime_ns:x}"
    target = Path(run_dir) / name
    if not target.exists():
        building = Path(run_dir) / f".{name}.{os.getpid()}"
        shutil.rmtree(building, ignore_errors=True)
        (building / "lib").mkdir(parents=True, mode=0o755)
        (building / "bin").mkdir(mode=0o755)
        shutil.copy(place.binary, building / "bin" / "criu")
        shutil.copy(_LOADER, building / "lib" / Path(_LOADER).name)
        for library in _needed(place.binary):
            shutil.copy(library, building / "lib" / Path(library).name)
        (building / "plugins").mkdir()
        try:
            os.rename(building, target)
        except OSError:
            shutil.rmtree(building, ignore_errors=True)  # another guest's jail was faster
    _refresh_kdat(target)
    return str(target)


def inside(place: CriuPlace) -> CriuPlace:
    """The same CRIU as the processes of the jail run it. Its libcriu must already be loaded."""
    loader = (f"{_IN_JAIL}/lib/{Path(_LOADER).name}", "--library-path", f"{_IN_JAIL}/lib")
    return CriuPlace(f"{_IN_JAIL}/bin/criu", place.library, place.version, loader, f"{_IN_JAIL}/plugins")


def _refresh_kdat(target: Path) -> None:
    with open(KDAT_PATH, "rb") as file:
        content = file.read()
    copy = target / "criu.kdat"
    if not copy.exists() or copy.read_bytes() != content:
        temporary = target / f"criu.kdat.{os.getpid()}"
        temporary.write_bytes(content)
        temporary.chmod(0o600)
        temporary.rename(copy)


def _needed(binary: str) -> list[str]:
    run = subprocess.run([_LOADER, "--list", binary], capture_output=True, text=True, timeout=30, check=False)
    missing = re.findall(r"^\s*(\S+) => not found", run.stdout, re.MULTILINE)
    found = re.findall(r"=> (/\S+) \(", run.stdout)
    if run.returncode != 0 or missing or not found:
        what = ", ".join(missing) or run.stderr.strip() or "nothing is known about its libraries"
        raise MosixError("no-criu", f"{binary} cannot run on this node: {what}.")
    return found
