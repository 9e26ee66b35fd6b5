"""The verb `config.get`: the configuration in force, and where each value comes from.

Owns only the telling. Files are read again for it, so that a value changed since the start is seen as such.
"""

from __future__ import annotations

import asyncio
import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from omdiscd.admin.service import AdminService
from omdiscd.config import Config
from omdiscd.control.registry import Caller
from omdiscd.core.admin import to_plain
from omdiscd.openmosix_config import FILE_NAME, read_openmosix_config
from omprotocol.paths import Paths


class ConfigVerbs:
    """Answers about the configuration `config` that the daemon was started with."""

    def __init__(self, config: Config, paths: Paths, service: AdminService) -> None:
        self._config = config
        self._paths = paths
        self._service = service

    async def get(self, _caller: Caller, _args: dict[str, Any]) -> dict[str, Any]:
        """All values with their origin: a file, set by mosctl, or the default."""
        return await asyncio.to_thread(self._values)

    def _values(self) -> dict[str, Any]:
        written = _keys_in(self._paths.config_file)
        values = []
        for section, fields in msgspec.to_builtins(self._config).items():
            for key, value in fields.items():
                name = f"{section}.{key}"
                origin = str(self._paths.config_file) if name in written else "default"
                values.append({"key": name, "value": json.dumps(value), "origin": origin})
        legacy_path = self._paths.etc_dir / FILE_NAME
        legacy = read_openmosix_config(legacy_path).settings
        settings = self._service.settings
        defaults = to_plain(type(settings)())
        for name, value in to_plain(settings).items():
            origin = "default" if value == defaults[name] else "mosctl"
            origin = str(legacy_path) if name in legacy else origin
            shown = self._service.speed if name == "speed" else value
            values.append({"key": f"admin.{name}", "value": json.dumps(shown), "origin": origin})
        return {"values": values, "file": str(self._paths.config_file)}


def _keys_in(path: Path) -> set[str]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    return {f"{section}.{key}" for section, fields in raw.items() if isinstance(fields, dict) for key in fields}
