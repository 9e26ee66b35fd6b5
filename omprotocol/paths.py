"""Where openMosix keeps its files on a node.

Owns the names of every directory, socket and file that more than one program must agree on. Each of the three
roots can be moved by an environment variable, so that several nodes can live on one machine. Never creates or
checks anything: the daemon does that for the files it owns.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The three roots of a node and the files below them."""

    run_dir: Path = Path("/run/openmosix")
    state_dir: Path = Path("/var/lib/openmosix")
    etc_dir: Path = Path("/etc/openmosix")

    @classmethod
    def from_environment(cls) -> Paths:
        """Return the roots, moved by OPENMOSIX_RUN_DIR, OPENMOSIX_STATE_DIR and OPENMOSIX_ETC_DIR where
        set.
        """
        get = os.environ.get
        return cls(
            run_dir=Path(get("OPENMOSIX_RUN_DIR") or cls.run_dir).absolute(),
            state_dir=Path(get("OPENMOSIX_STATE_DIR") or cls.state_dir).absolute(),
            etc_dir=Path(get("OPENMOSIX_ETC_DIR") or cls.etc_dir).absolute(),
        )

    @property
    def control_socket(self) -> Path:
        """The Unix stream socket of the control protocol."""
        return self.run_dir / "control"

    @property
    def pid_file(self) -> Path:
        """The locked PID file of the daemon; one daemon per run directory."""
        return self.run_dir / "omdiscd.pid"

    @property
    def hpc_dir(self) -> Path:
        """Mount point of the hpc tree."""
        return self.run_dir / "hpc"

    @property
    def journal_dir(self) -> Path:
        """Where migrations are journaled; survives a restart of the machine."""
        return self.state_dir / "journal"

    @property
    def cluster_key(self) -> Path:
        """The secret all nodes of a cluster share."""
        return self.etc_dir / "cluster.key"

    @property
    def config_file(self) -> Path:
        """The configuration of the daemon."""
        return self.etc_dir / "openmosix.toml"

    @property
    def map_file(self) -> Path:
        """The static node map; while it exists, the map and not the discovery rule gives node numbers."""
        return self.etc_dir / "openmosix.map"
