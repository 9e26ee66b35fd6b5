"""Timers that ran out while a dump was under way still fire.

CRIU reads the pending signals first, the memory next and the timers last.  One that runs out in between, as time goes
on for a frozen process, is in the image neither as a signal nor as a timer; an interval timer would even be off for
good, as it starts again only when its signal is taken.  Works on images and reads /proc.
Source of the numbers: CRIU's images/core.proto and timer.proto.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from .images import fields, pending_signals, replace_bytes, rewrite_core, set_varints, signal_number, tasks

_TASK, _TIMERS = 3, 7
_ITIMER_SIGNALS = {1: 14, 2: 26, 3: 27}  # real, virtual and profiling: SIGALRM, SIGVTALRM, SIGPROF
_POSIX = 4
_I_SECONDS, _I_FRACTION, _V_SECONDS, _V_FRACTION = 1, 2, 3, 4
_SIGNO, _PI_SECONDS, _PI_FRACTION, _PV_SECONDS, _PV_FRACTION = 3, 7, 8, 9, 10


def fire_lost_timers(images_dir: str, pid: int) -> None:
    """Let every timer of the images fire at once whose signal came too late for them.

    `pid`: the root of the dumped tree, still frozen.  Raises ValueError for an image that is cut short, OSError.
    """
    root = tasks(images_dir)[0].pid
    for task in tasks(images_dir):
        imaged = {signal_number(info) for info in pending_signals(images_dir, task.pid)}
        # Of descendants the numbers are not known here; their interval timers are looked after all the same.
        lost = _pending_now(pid) - imaged if task.pid == root else set()
        rewrite_core(Path(images_dir, f"core-{task.pid}.img"), _task_changer(lost))


def _task_changer(lost: set[int]) -> Callable[[bytes], bytes]:
    def timers(message: bytes) -> bytes:
        for number, signo in _ITIMER_SIGNALS.items():
            message = replace_bytes(message, number, partial(_interval_timer, signo in lost))
        return replace_bytes(message, _POSIX, lambda timer: _posix_timer(timer, lost))

    def task(message: bytes) -> bytes:
        return replace_bytes(message, _TIMERS, timers)

    return lambda core: replace_bytes(core, _TASK, task)


def _interval_timer(is_lost: bool, timer: bytes) -> bytes:
    values = _numbers(timer)
    if values.get(_V_SECONDS) or values.get(_V_FRACTION):
        return timer
    if is_lost:
        return set_varints(timer, {_V_FRACTION: 1})
    # Its signal is in the image: the kernel would have gone on with the next interval.
    return set_varints(timer, {_V_SECONDS: values.get(_I_SECONDS, 0), _V_FRACTION: values.get(_I_FRACTION, 0)})


def _posix_timer(timer: bytes, lost: set[int]) -> bytes:
    values = _numbers(timer)
    if values.get(_PV_SECONDS) or values.get(_PV_FRACTION) or values.get(_SIGNO) not in lost:
        return timer
    return set_varints(timer, {_PV_FRACTION: 1})


def _numbers(message: bytes) -> dict[int, int]:
    return {number: value for number, _, value in fields(message) if isinstance(value, int)}


def _pending_now(pid: int) -> set[int]:
    masks = 0
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(("SigPnd:", "ShdPnd:")):
            masks |= int(line.split()[1], 16)
    return {signo for signo in range(1, 65) if masks >> (signo - 1) & 1}
