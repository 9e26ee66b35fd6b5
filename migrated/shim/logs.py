"""Logging of the shims: syslog, because they outlive the daemon and its standard error.

`OPENMOSIX_SHIM_LOG` names a file to log to instead (virtual clusters have no syslog).
"""

from __future__ import annotations

import logging
import logging.handlers
import os
from pathlib import Path

_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class FieldsFormatter(logging.Formatter):
    """Event name, then the record's extra fields as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, or more when there is a traceback."""
        line = super().format(record)
        fields = {key: value for key, value in record.__dict__.items() if key not in _STANDARD_FIELDS}
        return " ".join([line, *(f"{key}={value}" for key, value in sorted(fields.items()))])


def log_to_syslog(program: str) -> None:
    """Send this process's log to syslog (facility daemon) or to the file named by OPENMOSIX_SHIM_LOG."""
    path = os.environ.get("OPENMOSIX_SHIM_LOG", "")
    handler: logging.Handler
    if path:
        handler = logging.FileHandler(path)
    elif Path("/dev/log").exists():
        handler = logging.handlers.SysLogHandler("/dev/log", logging.handlers.SysLogHandler.LOG_DAEMON)
    else:
        handler = logging.StreamHandler()
    handler.setFormatter(FieldsFormatter(f"%(asctime)s {program}[{os.getpid()}]: %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
