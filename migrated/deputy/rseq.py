"""Restartable sequences: a thread met inside one must go on at its abort address.

The kernel would do so itself if its registration were still the same when the thread runs on; ours is not.
Source: struct rseq and struct rseq_cs, include/uapi/linux/rseq.h.
"""

from __future__ import annotations

import struct

from migrated.deputy.ptrace import Rseq, Tracee
from migrated.deputy.x86 import Registers

_RSEQ_CS_OFFSET = 8


def leave_critical_section(tracee: Tracee, registers: Registers, rseq: Rseq) -> None:
    """Set `registers.rip` to the abort address if the thread is inside a critical section."""
    try:
        (section,) = struct.unpack("Q", tracee.read(rseq.address + _RSEQ_CS_OFFSET, 8))
        if not section:
            return
        _, _, start, length, abort = struct.unpack("IIQQQ", tracee.read(section, 32))
    except (OSError, struct.error):
        return
    if start <= registers.rip < start + length:
        registers.rip = abort
