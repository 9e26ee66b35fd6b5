"""Removing what shims that were killed have left: directories, cgroups, fates.

A guest shim's death kills everything in its jail, but what was frozen in its cgroup dies only when it is thawed.
Blocking; everything here may be done again.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from pathlib import Path

from migrated.jail import guest_cgroup
from migrated.recovery import clear_work_dir
from migrated.shim.claim import is_free
from migrated.shim.guest_main import NEVER_RAN, RAN

_log = logging.getLogger(__name__)
FATE_KEPT_S = 3600.0
"""Home asks for a fate within a minute; kept longer for whoever looks what happened."""
_CGROUP_TIMEOUT_S = 10.0


def forget_guest(directory: Path) -> None:
    """Remove all of a guest whose shim is gone, and keep its fate."""
    if directory.exists():
        with contextlib.suppress(OSError):
            directory.with_suffix(".fate").write_text(RAN if (directory / "ran").exists() else NEVER_RAN)
        shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        if not guest_cgroup.end(directory.name, _CGROUP_TIMEOUT_S):
            _log.error("guest.cgroup_busy", extra={"migration": directory.name})
    _drop_old_fates(directory.parent)


def sweep_guests(run_dir: Path, alive: set[str], *, unborn: bool = False) -> None:
    """Remove every guest but those `alive`; one that has not yet said who it is only when `unborn`."""
    for directory in (run_dir / "guests").glob("*/"):
        if directory.name not in alive and (unborn or (directory / "guest.json").exists()):
            forget_guest(directory)


def sweep_away(run_dir: Path, known: set[int]) -> None:
    """Remove the directories of home shims that are gone and left no record."""
    for directory in (run_dir / "away").glob("*/"):
        if directory.name.isdigit() and int(directory.name) not in known and is_free(directory):
            clear_work_dir(directory)
            with contextlib.suppress(OSError):
                (directory / "claim").unlink(missing_ok=True)
                directory.rmdir()


def _drop_old_fates(directory: Path) -> None:
    oldest = time.time() - FATE_KEPT_S
    for path in directory.glob("*.fate"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
