"""How fast a processor of this node is: measured once, at the first start, and kept in the state directory.

Takes the fastest of several short loops in CPU time, so that a busy machine or a CPU quota makes no difference.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from balancer.speed import MAX_SPEED, MIN_SPEED, calibration_loop, speed_from_rounds

FILE = "measured-speed"
ROUNDS = 50_000
LOOPS = 12


def kept_speed(state_dir: Path) -> int | None:
    """What was measured before, in openMosix units; None when that is not known."""
    try:
        speed = int((state_dir / FILE).read_text())
    except (OSError, ValueError):
        return None
    return speed if MIN_SPEED <= speed <= MAX_SPEED else None


def measure(state_dir: Path) -> int:
    """Measure and keep.  Blocks for about a tenth of a second of CPU; for a thread.  Needs no place to succeed."""
    speed = speed_from_rounds(ROUNDS, min(_loop_s() for _ in range(LOOPS)))
    draft = state_dir / f".{FILE}"
    try:
        draft.write_text(f"{speed}\n")
        os.replace(draft, state_dir / FILE)
    except OSError:
        pass  # the next start measures again
    return speed


def _loop_s() -> float:
    began = time.thread_time()
    calibration_loop(ROUNDS)
    return max(time.thread_time() - began, 1e-6)
