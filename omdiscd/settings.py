"""Everything a life of the daemon is made from: configuration, key, interfaces, numbering.

Owns reading them together, at the start and at every reload, so that a reload with a mistake in it changes
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from omdiscd.config import INTERFACES_MAX, Config, load_config
from omdiscd.io.interfaces import default_interface
from omdiscd.numbering import Numbering, load_numbering
from omdiscd.openmosix_config import FILE_NAME, read_openmosix_config
from omprotocol import cluster_key
from omprotocol.paths import Paths


@dataclass(frozen=True)
class Options:
    """What the command line said; None where it was silent."""

    interfaces: tuple[str, ...] | None = None
    multicast_ttl: int | None = None


@dataclass(frozen=True)
class Settings:
    """One consistent set. `interfaces` are names, the primary first."""

    config: Config
    interfaces: tuple[str, ...]
    numbering: Numbering
    key: bytes = field(repr=False)


def load_config_and_interfaces(options: Options, paths: Paths) -> tuple[Config, tuple[str, ...]]:
    """Read the configuration and put the options over it. Raises MosixError."""
    config = load_config(paths.config_file)
    network = config.network
    if options.multicast_ttl is not None:
        network = msgspec.structs.replace(network, multicast_ttl=options.multicast_ttl)
    interfaces = options.interfaces or network.interfaces
    if not interfaces:
        original = read_openmosix_config(paths.etc_dir / FILE_NAME)
        interfaces = original.interfaces[:INTERFACES_MAX] or (default_interface(),)
    return msgspec.structs.replace(config, network=network), interfaces


def load_settings(options: Options, paths: Paths) -> Settings:
    """Read everything anew. Raises MosixError with the file and what is wrong with it. Blocks on files."""
    config, interfaces = load_config_and_interfaces(options, paths)
    return Settings(config, interfaces, load_numbering(paths.map_file), cluster_key.load(paths.cluster_key))
