"""Where the daemon's log goes and how a line looks.

A line is a fixed event name and its facts as key=value. In the foreground to standard error, in the
background to syslog (facility daemon, ident omdiscd). Never blocks on a missing syslog, never writes key
material.
"""

from __future__ import annotations

import logging
import sys
import syslog

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PRIORITIES = (
    (logging.ERROR, syslog.LOG_ERR),
    (logging.WARNING, syslog.LOG_WARNING),
    (logging.INFO, syslog.LOG_INFO),
)


class KeyValueFormatter(logging.Formatter):
    """Event, then the facts given as `extra`; control characters in them are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, a traceback below it."""
        facts = [f"{key}={_shown(value)}" for key, value in vars(record).items() if key not in _STANDARD]
        text = " ".join((record.getMessage(), *facts))
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class SyslogHandler(logging.Handler):
    """Through syslog(3), which finds the system's log again when that is restarted."""

    def __init__(self) -> None:
        super().__init__()
        syslog.openlog("omdiscd", syslog.LOG_PID, syslog.LOG_DAEMON)

    def emit(self, record: logging.LogRecord) -> None:
        """Send each line of the record."""
        priority = next((p for level, p in _PRIORITIES if record.levelno >= level), syslog.LOG_DEBUG)
        for line in self.format(record).splitlines():
            syslog.syslog(priority, line)


def start_logging(is_background: bool) -> None:
    """Send the log of this process to syslog or to standard error."""
    handler: logging.Handler = SyslogHandler() if is_background else logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def toggle_debug() -> bool:
    """Switch debug lines on or off; True when they are on now."""
    root = logging.getLogger()
    root.setLevel(logging.INFO if root.level == logging.DEBUG else logging.DEBUG)
    return root.level == logging.DEBUG


def _shown(value: object) -> str:
    text = str(value)
    if text.isprintable() and " " not in text and text:
        return text
    return repr(text)
