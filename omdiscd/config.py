"""The configuration of a node: /etc/openmosix/openmosix.toml as frozen structs.

Owns the form, the bounds and the defaults of every key, and errors that name file and key. A missing file
means the defaults; an unknown key is an error, so that a misspelt one never goes unnoticed. The sections of
other rooms are kept as they are and checked by those rooms with `section`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from omprotocol.errors import EXIT_USAGE, MosixError

INTERFACES_MAX = 6
"""As many as openMosix's discovery daemon takes."""
SEEDS_MAX = 64

Port = Annotated[int, Meta(ge=1, le=65535)]
Ipv4Text = Annotated[str, Meta(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$")]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
T = TypeVar("T")


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section [network]: interfaces, ports and how the nodes find each other."""

    interfaces: Annotated[tuple[str, ...], Meta(max_length=INTERFACES_MAX)] = ()
    """Empty: the interface of the default route. Option -i takes precedence."""
    address: Annotated[str, Meta(pattern=r"^([0-9]{1,3}(\.[0-9]{1,3}){3})?$")] = ""
    """Which address to use where the first interface has several; empty: its first."""
    multicast: bool = True
    multicast_ttl: Annotated[int, Meta(ge=1, le=255)] = 1
    group: Ipv4Text = "239.192.0.1"
    label: Annotated[str, Meta(max_length=32, pattern=r"^[A-Za-z0-9._-]*$")] = ""
    """Keeps clusters apart that share a key; nodes of different labels do not see each other."""
    seeds: Annotated[tuple[Ipv4Text, ...], Meta(max_length=SEEDS_MAX)] = ()
    """Addresses of nodes to start from in networks without multicast."""
    discovery_port: Port = 1334
    gossip_port: Port = 5428
    peer_port: Port = 4660
    mfs_port: Port = 723


class Membership(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section [membership]: when a node counts as alive. The defaults notice a death in about 6 seconds."""

    period_s: Seconds = 1.0
    """Between two pulses of a node; traffic and idle cost grow as it shrinks."""
    announce_s: Seconds = 10.0
    joining_s: Seconds = 1.0
    silent_periods: Annotated[float, Meta(ge=1, le=60)] = 3.0
    probe_periods: Annotated[float, Meta(gt=0, le=60)] = 0.5
    suspicion_min_periods: Annotated[float, Meta(gt=0, le=600)] = 2.0
    suspicion_max_periods: Annotated[float, Meta(gt=0, le=600)] = 6.0


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    network: Network = Network()
    membership: Membership = Membership()
    balancing: dict[str, Any] = {}
    migration: dict[str, Any] = {}
    mfs: dict[str, Any] = {}
    hpc: dict[str, Any] = {}


def load_config(path: Path) -> Config:
    """Read the file; the defaults when there is none. Raises MosixError `bad-config` with file and key.
    Blocks.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Config()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise bad_config(path, str(error)) from None
    except OSError as error:
        raise bad_config(path, f"cannot be read: {error.strerror}") from None
    return section(raw, Config, path, "")


def section(raw: dict[str, Any], form: type[T], path: Path, name: str) -> T:
    """Check one section and return it as `form`. Raises MosixError `bad-config` that names file and key."""
    try:
        return msgspec.convert(raw, form, strict=True)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        key = ".".join(part for part in (name, where.strip("`.")) if part)
        raise bad_config(path, f"{key}: {what}" if key else what) from None


def bad_config(path: Path, why: str) -> MosixError:
    """Return the error for a configuration file that cannot be used."""
    return MosixError("bad-config", f"{path}: {why}", EXIT_USAGE)
