"""What home does with a process whose shim is gone: thaw it, or report its end, as the journal says.

Used by the daemon at its start for every record, and at once when a shim it watches ends with a record left.  Holds
the claim on the process meanwhile, so that everything that is left of the shim is dead and no other one begins.
Runs in a thread: it waits for a CRIU that may still be at work on the process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from pathlib import Path

from migrated.core.ledger import Recovery, recovery
from migrated.deputy.channel import DeputyChannel
from migrated.deputy.freezer import Freezer
from migrated.deputy.hollow import Hollow
from migrated.journal import Ending, Journal, Record
from migrated.shim.claim import Claim
from migrated.survey.facts import ProcessVanished, boot_id, read_facts
from omprotocol.errors import MosixError

_log = logging.getLogger(__name__)
_CLAIM_LIMIT_S = 30.0
_CRIU_LIMIT_S = 20.0
_POLL_S = 0.02
KILLED = Ending(exited=False, status=int(signal.SIGKILL))


def recover(record: Record, journal: Journal, work_dir: Path) -> str:
    """Put the process of `record` right and forget the record; returns what was done, in words.

    In state COMMITTED the copy must be known not to run any more.  Blocks; raises Claimed when a shim still lives.
    """
    claim = Claim.take(work_dir, record.pid, _CLAIM_LIMIT_S)
    try:
        done = _put_right(record, claim.had_effect)
        journal.remove(record.pid)
    finally:
        clear_work_dir(work_dir)
        claim.release()
        with contextlib.suppress(OSError):
            work_dir.rmdir()
    _log.warning("process.recovered", extra={"pid": record.pid, "state": str(record.state), "done": done})
    return done


def clear_work_dir(work_dir: Path) -> None:
    """Remove what a dead shim left in its directory, but for the claim."""
    for path in [*work_dir.glob("images/*"), work_dir / "control"]:
        with contextlib.suppress(OSError):
            path.unlink()
    with contextlib.suppress(OSError):
        (work_dir / "images").rmdir()


def _put_right(record: Record, had_effect: bool) -> str:
    pidfd = _original(record)
    if pidfd is None:
        _release(record)
        return "it had ended"
    try:
        match recovery(record.state):
            case Recovery.THAW:
                return _thaw(record)
            case Recovery.ASK_GUEST:
                return _end(record, pidfd, KILLED) if had_effect else _thaw(record)
            case Recovery.REPORT_DEATH:
                return _end(record, pidfd, KILLED)
            case Recovery.REPORT_END:
                return _end(record, pidfd, record.ending or KILLED)
            case Recovery.FORGET:
                return "runs at home"
    finally:
        os.close(pidfd)


def _original(record: Record) -> int | None:
    """A pidfd of the very process of the record, or None when it is gone; a reused PID is not it."""
    if record.boot_id != boot_id():
        return None
    try:
        pidfd = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return None
    with contextlib.suppress(ProcessVanished):
        facts = read_facts(record.pid)
        if facts.start_ticks == record.start_ticks and facts.state not in "ZX":
            return pidfd
    os.close(pidfd)
    return None


def _thaw(record: Record) -> str:
    deadline = time.monotonic() + _CRIU_LIMIT_S
    while time.monotonic() < deadline and _is_traced(record.pid):
        time.sleep(_POLL_S)
    _release(record)
    return "it runs at home"


def _release(record: Record) -> None:
    if record.freezer is not None:
        Freezer.from_json(record.freezer).release()


def _is_traced(pid: int) -> bool:
    try:
        return read_facts(pid).tracer_pid != 0
    except ProcessVanished:
        return False


def _end(record: Record, pidfd: int, ending: Ending) -> str:
    """End the original as its body ended, through the deputy; by SIGKILL where there is no deputy to ask."""
    try:
        if record.hollow is None or ending == KILLED:
            raise ProcessVanished(record.pid)
        channel = DeputyChannel.open(record.pid, Hollow.from_json(record.hollow))
        try:
            if ending.exited:
                channel.exit(ending.status & 0xFF)
            else:
                channel.die(ending.status)
        finally:
            channel.close()
    except (MosixError, OSError, ValueError):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        _release(record)
        return "its body was lost; it was ended with SIGKILL"
    return "it was ended as its body had ended"
