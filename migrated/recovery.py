"""What home does with a process whose shim is gone: thaw it, or report its death, as the journal says.

Used by the daemon at its start for every record, and at once when a shim it watches ends with a record left.
Runs in a thread or before the loop: it waits for a CRIU that may still be at work on the process.
"""

from __future__ import annotations

import logging
import os
import signal
import time

from migrated.core.ledger import Recovery, recovery
from migrated.deputy.channel import DeputyChannel
from migrated.deputy.freezer import Freezer
from migrated.deputy.hollow import Hollow
from migrated.journal import Journal, Record
from migrated.survey.facts import ProcessVanished, boot_id, read_facts
from omprotocol.errors import MosixError

_log = logging.getLogger(__name__)
_CRIU_LIMIT_S = 20.0
_POLL_S = 0.02


def recover(record: Record, journal: Journal, never_ran: bool) -> str:
    """Put the process of `record` right and forget the record; returns what was done, in words.

    `never_ran`: the guest's node has said that the copy never ran.  Blocks for up to 20 s.
    """
    done = "forgotten"
    if _is_alive(record):
        match recovery(record.state):
            case Recovery.THAW:
                done = _thaw(record)
            case Recovery.ASK_GUEST:
                done = _thaw(record) if never_ran else _kill(record)
            case Recovery.REPORT_DEATH:
                done = _report_death(record)
            case Recovery.FORGET:
                pass
    journal.remove(record.pid)
    _log.warning("process.recovered", extra={"pid": record.pid, "state": str(record.state), "done": done})
    return done


def _is_alive(record: Record) -> bool:
    if record.boot_id != boot_id():
        return False
    try:
        return read_facts(record.pid).start_ticks == record.start_ticks
    except ProcessVanished:
        return False


def _thaw(record: Record) -> str:
    if record.freezer is None:
        return "runs at home"
    deadline = time.monotonic() + _CRIU_LIMIT_S
    while time.monotonic() < deadline and _is_traced(record.pid):
        time.sleep(_POLL_S)
    freezer = Freezer.from_json(record.freezer)
    freezer.thaw()
    freezer.release()
    return "thawed, runs at home"


def _is_traced(pid: int) -> bool:
    try:
        return read_facts(pid).tracer_pid != 0
    except ProcessVanished:
        return False


def _kill(record: Record) -> str:
    os.kill(record.pid, signal.SIGKILL)
    _thaw(record)
    return "ended with SIGKILL: its copy ran and was lost"


def _report_death(record: Record) -> str:
    try:
        if record.hollow is None:
            return _kill(record)
        channel = DeputyChannel.open(record.pid, Hollow.from_json(record.hollow))
        channel.die(signal.SIGKILL)
    except (MosixError, OSError):
        os.kill(record.pid, signal.SIGKILL)
    return "ended with SIGKILL: its body was lost"
