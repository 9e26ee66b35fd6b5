"""The original's configuration file, /etc/openmosix/openmosix.config, for those who bring theirs along.

Owns reading its variables (openmosix.md 10.2) without running it as the shell script it used to be. What it
says is applied at every start, as the original's start script did; the native file is openmosix.toml.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

from omdiscd.core.admin import AdminSettings, change
from omprotocol.errors import MosixError

log = logging.getLogger(__name__)

FILE_NAME = "openmosix.config"
_LIMIT_BYTES = 1 << 16
_LINE = re.compile(r"""^\s*(?:export\s+)?([A-Z_][A-Z0-9_]*)=("[^"$`\\]*"|'[^']*'|[^\s"'$`\\;#]*)\s*(?:#.*)?$""")
_YES_NO = {"yes": True, "no": False, "1": True, "0": False}


@dataclass(frozen=True)
class OpenmosixConfig:
    """Variables that were set, by name; `settings` are those that are settings of the node."""

    variables: dict[str, str] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def interfaces(self) -> tuple[str, ...]:
        """AUTODISCIF: the interfaces to discover nodes on; empty when unset."""
        return tuple(filter(None, self.variables.get("AUTODISCIF", "").replace(",", " ").split()))

    @property
    def wants_discovery(self) -> bool:
        """AUTODISC: discovery even where there is a map."""
        return _YES_NO.get(self.variables.get("AUTODISC", "0").lower(), False)

    @property
    def own_node(self) -> int | None:
        """MYOMID: this node's number in the map; None when unset."""
        text = self.variables.get("MYOMID", "")
        return int(text) if text.isdecimal() and 1 <= int(text) <= 65535 else None


def read_openmosix_config(path: Path) -> OpenmosixConfig:
    """Read the file; nothing set when there is none. Lines and values that make no sense are logged.
    Blocks.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(_LIMIT_BYTES)
    except FileNotFoundError:
        return OpenmosixConfig()
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error.strerror)
        return OpenmosixConfig()
    return parse_openmosix_config(text, str(path))


def parse_openmosix_config(text: str, name: str = FILE_NAME) -> OpenmosixConfig:
    """Read the variables; what makes no sense is logged and left out."""
    variables: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.match(line)
        if found is None:
            log.warning("%s line %d is not NAME=value and was left out", name, number)
            continue
        variables[found.group(1)] = found.group(2).strip("\"'")
    settings: dict[str, object] = {}
    for variable, value in variables.items():
        try:
            settings |= _settings_of(variable, value)
        except (ValueError, MosixError) as error:
            log.warning("%s: %s=%s was left out: %s", name, variable, value[:80], error)
    return OpenmosixConfig(variables, settings)


def apply_to(settings: AdminSettings, config: OpenmosixConfig) -> AdminSettings:
    """Settings with what the file says."""
    for name, value in config.settings.items():
        settings = change(settings, name, value).settings
    return settings


def _settings_of(variable: str, value: str) -> dict[str, object]:
    if not value:
        return {}
    wanted: dict[str, object] = {}
    match variable:
        case "MIGRATE":
            wanted = {"lstay": not _yes(value)}
        case "BLOCK":
            wanted = {"block": _yes(value)}
        case "MFS":
            wanted = {"nomfs": not _yes(value)}
        case "NODESPEED":
            wanted = {"speed": int(value)}
        case "MOSGATES":
            wanted = {"gateways": int(value)}
        case "OVERHEADS":
            wanted = {"overheads": [int(word) for word in value.split()]}
        case "MFSCOSTS":
            wanted = {"mfscosts": [int(word) for word in value.split()]}
    for name, checked in wanted.items():
        change(AdminSettings(), name, checked)
    return wanted


def _yes(value: str) -> bool:
    if value.lower() not in _YES_NO:
        raise ValueError("yes or no is expected")
    return _YES_NO[value.lower()]
