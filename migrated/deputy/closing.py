"""Closing descriptors of a deputy because its body has closed them: whoever is at the other end waits for that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from migrated.deputy.error import ProcessGone
from migrated.deputy.hollow import Hollow
from migrated.deputy.ptrace import Tracee
from migrated.deputy.x86 import Call
from omprotocol.errors import MosixError


def close_descriptors(pid: int, hollow: Hollow, numbers: Iterable[int]) -> None:
    """Have the deputy close `numbers`; those that are closed already are skipped.  Blocks for a millisecond.

    Never raises: a deputy that has ended has closed everything, one that is being traced keeps them open.
    """
    wanted = [number for number in numbers if number not in hollow.own_fds]
    with contextlib.suppress(ProcessGone, OSError, MosixError, TimeoutError):
        tracee = Tracee(pid)
        try:
            tracee.stop()
            tracee.prepare(hollow.site)
            for number in wanted:
                with contextlib.suppress(MosixError, OSError):
                    tracee.call(Call.CLOSE, number)
            tracee.put_back()
        finally:
            tracee.detach(stop=bool(tracee.swallowed))
