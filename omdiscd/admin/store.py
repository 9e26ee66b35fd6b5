"""Keeps the administrator's settings across restarts, in one small file below the state directory.

Owns `admin.json`. A torn, missing or strange file gives defaults and a warning, never a daemon that does not
start. Writes are whole or not at all.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from omdiscd.core.admin import AdminSettings, from_plain, to_plain

log = logging.getLogger(__name__)

FILE_NAME = "admin.json"
_LIMIT_BYTES = 1 << 16


def load_settings(state_dir: Path) -> AdminSettings:
    """Stored settings, or defaults. Blocks briefly; call it before the loop runs."""
    path = state_dir / FILE_NAME
    try:
        with open(path, "rb") as stored:
            plain = json.loads(stored.read(_LIMIT_BYTES))
    except FileNotFoundError:
        return AdminSettings()
    except (OSError, ValueError, RecursionError) as error:
        log.warning("admin.store_unreadable", extra={"path": str(path), "error": str(error)})
        return AdminSettings()
    return from_plain(plain) if isinstance(plain, dict) else AdminSettings()


def save_settings(state_dir: Path, settings: AdminSettings) -> None:
    """Store settings atomically. Blocks for one small write without a sync. Raises OSError."""
    path = state_dir / FILE_NAME
    beside = path.with_suffix(".new")
    text = json.dumps(to_plain(settings), indent=1) + "\n"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
    os.replace(beside, path)
