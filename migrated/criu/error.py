"""What CRIU said when it failed.

Owns the error type and the reading of a CRIU log. Never hides the log: its error lines are the only thing
that tells a user why a process cannot move.
"""

from __future__ import annotations

import errno as errno_names
import os
import re

from omprotocol.errors import EXIT_FAILED, MosixError

LOG_TAIL_LINES = 12
_LOG_TAIL_BYTES = 256 * 1024


class CriuError(MosixError):
    """A failed CRIU call: `function`, its return value, the errno CRIU gave (0: none) and the log's error
    lines.
    """

    def __init__(self, function: str, ret: int, number: int, log_tail: list[str], message: str) -> None:
        super().__init__("criu-failed", message, EXIT_FAILED)
        self.function = function
        self.ret = ret
        self.errno = number
        self.log_tail = log_tail


def failure(what: str, function: str, ret: int, number: int, log_tail: list[str]) -> CriuError:
    """The error for `what` ("dump process 7"), with the most telling line of the log or the name of the
    errno.
    """
    if log_tail:
        reason = plain_reason(log_tail)
    elif number:
        reason = os.strerror(number)
    else:
        reason = f"{function} returned {errno_names.errorcode.get(-ret, str(ret))}"
    return CriuError(function, ret, number, log_tail, f"CRIU could not {what}: {reason}")


def plain_reason(log_tail: list[str]) -> str:
    """The first error line without its time and place in CRIU's source; "" when there is none."""
    return re.sub(r"^\([\d.]+\)\s+(\d+: )?Error \([^)]*\): ", "", log_tail[0]) if log_tail else ""


def log_tail(log_path: str) -> list[str]:
    """The lines of a CRIU log that name an error, oldest first, at most LOG_TAIL_LINES; [] when there is no
    log.
    """
    try:
        with open(log_path, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [line.strip() for line in text.splitlines() if "Error" in line]
    return [line for line in lines if "Can't setup RLIMIT_NOFILE for self" not in line][:LOG_TAIL_LINES]
