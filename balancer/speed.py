"""Speed of a processor and the yardstick, in openMosix's units.

15000 is the standard processor (a Pentium III of 1 GHz, 1992 BogoMIPS); the speed is that of one CPU, not
of the node. Loads and costs inside this package use the relative speed (1.0 = standard); only the edges
speak openMosix's integers. Timing the calibration loop is the caller's business: this module never reads a
clock.
"""

from __future__ import annotations

STANDARD_SPEED = 15000
MAX_SPEED = 65535  # openMosix: "Computer Too Fast! Time to Update Standard-Speed."
MIN_SPEED = 1

# Rounds per second of `calibration_loop` on the standard processor. Set on an undisturbed EPYC of 5200 BogoMIPS
# (CPython 3.11), which by openMosix's rule (proportional to BogoMIPS) has to come out near 39000.
STANDARD_ROUNDS_PER_S = 8.5e6


def calibration_loop(rounds: int) -> int:
    """Burn CPU for `rounds` rounds of integer arithmetic; the caller measures the CPU time.

    Returns a value nobody needs.
    """
    x = 1
    for _ in range(rounds):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
    return x


def clamp_speed(speed: float) -> int:
    """The nearest speed openMosix accepts, MIN_SPEED..MAX_SPEED."""
    return max(MIN_SPEED, min(MAX_SPEED, round(speed)))


def speed_from_rounds(rounds: int, cpu_s: float) -> int:
    """Speed of a CPU that did `rounds` rounds of `calibration_loop` in `cpu_s` CPU seconds (> 0)."""
    if cpu_s <= 0:
        raise ValueError("the calibration loop took no time")
    return clamp_speed(STANDARD_SPEED * rounds / cpu_s / STANDARD_ROUNDS_PER_S)


def relative_speed(speed: int) -> float:
    """1.0 for the standard processor."""
    return speed / STANDARD_SPEED


def in_yardstick(load: float, yardstick: int) -> float:
    """An openMosix load (100 = one process per standard CPU) as shown to people: load * sspeed / 15000."""
    return load * yardstick / STANDARD_SPEED
