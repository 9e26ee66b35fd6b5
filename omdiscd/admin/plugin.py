"""Administration and the hpc tree as one service of the daemon.

Owns how they are hooked into the composition root; what they do is elsewhere.
"""

from __future__ import annotations

import asyncio

from omdiscd import __version__
from omdiscd.admin.config_verbs import ConfigVerbs
from omdiscd.admin.interfaces import LoadSource, MigrationControl, NoMigration
from omdiscd.admin.mapped_cluster import MappedCluster
from omdiscd.admin.service import AdminService
from omdiscd.admin.verbs import AdminVerbs
from omdiscd.control.registry import Registry
from omdiscd.hpc.mounted import serve_hpc
from omdiscd.io.peer_server import PeerRegistry
from omdiscd.node import MemberView, Node
from omdiscd.numbering import load_numbering
from omdiscd.openmosix_config import FILE_NAME, read_openmosix_config


class Administration:
    """A service (see `service.Service`). Without `migration` nothing moves and nobody is a guest."""

    def __init__(self, node: Node, migration: MigrationControl | None = None, load: LoadSource | None = None) -> None:
        self._node = node
        self.service = AdminService(
            node.paths.state_dir,
            MappedCluster(node, load_numbering(node.paths.map_file).table),
            migration if migration is not None else NoMigration(),
            load,
        )
        self.service.start_with(read_openmosix_config(node.paths.etc_dir / FILE_NAME))

    def register(self, verbs: Registry, peer_verbs: PeerRegistry) -> None:
        """Add the verbs of administration."""
        AdminVerbs(self.service).register(verbs, peer_verbs)
        config = ConfigVerbs(self._node.config, self._node.paths, self.service)
        verbs.add("config.get", config.get, "anyone")

    def refusal_of_guests(self) -> str | None:
        """Why this node takes no guests now, or None."""
        settings = self.service.settings
        if settings.block or settings.drain:
            return f"Node {self._node.number} takes no guests ({'block' if settings.block else 'drain'} is set)."
        return None

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.service.run(), name="admin")
            if self._node.config.hpc.get("enabled", True):
                tasks.create_task(serve_hpc(self._node.paths.hpc_dir, self.service, version_text()), name="hpc tree")

    def on_member_change(self, member: MemberView, before: str | None) -> None:
        """Ignore it: nodes are asked when somebody wants to know."""


def version_text() -> str:
    """The text of `admin/version`."""
    return f"openMosix Version {__version__} (user space)\nDFSA is enabled\nSimple network topology"
