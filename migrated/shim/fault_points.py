"""Named steps of a move at which a test can hold a shim, so that a fault happens exactly there and nothing sleeps.

A test hook, off unless the directory `fault-points` exists in the run directory, which only root can make and nothing
of ours does.  A shim that reaches step S while the file `fault-points/S` exists writes its PID into `S.reached` and
waits until S is gone, at most HOLD_LIMIT_S.  Who made the file kills, cuts or signals meanwhile whatever it wants.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

HOLD_LIMIT_S = 90.0
_DIRECTORY = "fault-points"
_POLL_S = 0.01


async def fault_point(run_dir: str | Path, step: str) -> None:
    """Be at `step`; the shim's loop goes on while it is held."""
    order = _order(run_dir, step)
    if order is None:
        return
    deadline = time.monotonic() + HOLD_LIMIT_S
    while order.exists() and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_S)


def fault_point_blocking(run_dir: str | Path, step: str) -> None:
    """Be at `step`, in a process or at a place that has no loop."""
    order = _order(run_dir, step)
    if order is None:
        return
    deadline = time.monotonic() + HOLD_LIMIT_S
    while order.exists() and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _order(run_dir: str | Path, step: str) -> Path | None:
    order = Path(run_dir) / _DIRECTORY / step
    if not order.exists():
        return None
    draft = order.with_suffix(f".{os.getpid()}")
    draft.write_text(str(os.getpid()))
    draft.rename(order.with_suffix(".reached"))
    return order
