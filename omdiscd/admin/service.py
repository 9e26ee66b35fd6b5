"""Administration of one node, put together: settings, node facts, process settings, evacuation.

Owns the settings in force and their storing, and the tasks of administration. Everything that changes the
node on somebody's order goes through here, whether it came by control socket, hpc tree or another node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from omdiscd.admin import process_facts
from omdiscd.admin.evacuation import Evacuation, nobody_listens
from omdiscd.admin.interfaces import ClusterView, Destination, LoadSource, MigrationControl, Progress
from omdiscd.admin.machine import RunQueueLoad, measured_speed
from omdiscd.admin.nodes import NodeQueries, no_response, not_configured
from omdiscd.admin.placement import Placement
from omdiscd.admin.processes import ProcessSettings
from omdiscd.admin.store import load_settings, save_settings
from omdiscd.core import admin
from omdiscd.openmosix_config import OpenmosixConfig, apply_to
from omprotocol.errors import EXIT_FAILED, MosixError

log = logging.getLogger(__name__)

SAMPLE_S = 1.0
_SAID = {
    ("stay", True): "automatic process-migration from this node disabled",
    ("stay", False): "automatic process-migration from this node re-enabled",
    ("lstay", True): "auto-migration of local-processes disabled",
    ("lstay", False): "auto-migration of local-processes re-enabled",
    ("block", True): "this node will not accept further guest-processes",
    ("block", False): "guest-processes now accepted again",
    ("quiet", True): "automatic load-dissemination stopped",
    ("quiet", False): "load-gossipping resumed",
    ("nomfs", True): "MFS service off",
    ("nomfs", False): "MFS service on",
    ("drain", True): "draining: guests leave and none are accepted",
    ("drain", False): "no longer draining",
}


class AdminService:
    """Administration of this node. `run` must be running while `expel`, `bring` or `drain` are used."""

    def __init__(
        self,
        state_dir: Path,
        cluster: ClusterView,
        migration: MigrationControl,
        load: LoadSource | None = None,
        speed: int | None = None,
    ) -> None:
        self.cluster = cluster
        self.migration = migration
        self.measured_speed = measured_speed() if speed is None else speed
        self._state_dir = state_dir
        self._settings = load_settings(state_dir)
        self._load: LoadSource = load if load is not None else RunQueueLoad()
        self._clear_listeners: list[Callable[[int], None]] = []
        self._listeners: list[Callable[[admin.AdminSettings], None]] = []
        self._tasks: asyncio.TaskGroup | None = None
        self.nodes = NodeQueries(cluster, self._load, lambda: self._settings, self.measured_speed)
        self.processes = ProcessSettings(migration)
        self._placement = Placement(migration)
        self._evacuation = Evacuation(migration, self._spawn)

    @property
    def settings(self) -> admin.AdminSettings:
        """Settings in force."""
        return self._settings

    def start_with(self, config: OpenmosixConfig) -> None:
        """Let the original's configuration file override stored settings; for the start of the daemon."""
        self._settings = apply_to(self._settings, config)

    def use_load(self, load: LoadSource) -> None:
        """Take the load of this node from `load` from now on."""
        self._load = load
        self.nodes.use_load(load)

    @property
    def speed(self) -> int:
        """Speed of this node in openMosix units."""
        return admin.shown_speed(self._settings, self.measured_speed)

    def speed_is(self, measured: int) -> None:
        """Take what was measured from now on; the listeners hear of it."""
        self.measured_speed = self.nodes.measured_speed = measured
        for listener in self._listeners:
            listener(self._settings)

    def on_change(self, listener: Callable[[admin.AdminSettings], None]) -> None:
        """Call `listener` after every change of settings."""
        self._listeners.append(listener)

    def change(self, name: str, value: object) -> bool:
        """Set one value and store it; True when it was so already. Raises MosixError."""
        return self._accept(admin.change(self._settings, name, value), name)

    def change_decay(self, interval_s: object, slow: object, fast: object) -> bool:
        """Set the decay of statistics; True when it was so already. Raises MosixError."""
        return self._accept(admin.change_decay(self._settings, interval_s, slow, fast), "setdecay")

    async def expel(self, progress: Progress = nobody_listens) -> int:
        """Accept no more guests and send all away; returns how many left. Raises MosixError for the rest."""
        self.change("block", True)
        gone = await self._evacuation.expel(progress)
        log.info("all guests evacuated and no further guests allowed in")
        return gone

    async def bring(self, progress: Progress = nobody_listens) -> int:
        """Keep own processes here and bring those away home. Raises MosixError for those that cannot come."""
        self.change("lstay", True)
        home = await self._evacuation.bring(progress)
        log.info("all local processes brought home and will not auto-migrate away")
        return home

    async def drain(self, progress: Progress = nobody_listens) -> int:
        """Like expel, but remembered as the node's role until `undrain`. Raises MosixError for the rest."""
        self.change("drain", True)
        return await self._evacuation.expel(progress)

    def start_move(self, pid: int, to: Destination) -> None:
        """Begin to move a process of this node and return at once; its end is logged.

        Raises MosixError when it is known now that it cannot be: `unmovable`, `no-such-node`, no process.
        """
        process_facts.read_stat(pid)
        self._check_destination(to)
        reasons = self.migration.cantmove(pid)
        if reasons and to != "home":
            raise MosixError("unmovable", f"Process #{pid} is unmovable: {', '.join(reasons)}.", EXIT_FAILED)

        async def move() -> None:
            await self.migration.move(pid, to, nobody_listens)

        self._spawn(_log_error(move(), pid))

    def start_move_of_guest(self, pid: int, to: Destination) -> None:
        """Begin to send a guest somewhere and return at once; its end is logged. Raises MosixError."""
        self._check_destination(to)
        self._spawn(_log_error(self.migration.send_guest(pid, to), pid))

    def start_placement(self, pid: int, to: Destination) -> None:
        """Move the process once it has exec'd its program. Raises MosixError for a node that is not there."""
        self._check_destination(to)
        if isinstance(to, int) and not self.cluster.is_up(to):
            raise no_response(to)
        who = process_facts.read_stat(pid).identity
        # Looked at now: once the answer is on its way, the process may become the program at any moment.
        self._spawn(self._placement.after_exec(who, process_facts.image(pid), to))

    def clear_statistics(self, pid: int) -> None:
        """Forget what is known of the CPU use and I/O of a process."""
        for listener in self._clear_listeners:
            listener(pid)

    def on_clear(self, listener: Callable[[int], None]) -> None:
        """Call `listener` with a PID whose statistics shall start anew."""
        self._clear_listeners.append(listener)

    async def run(self, ready: asyncio.Event | None = None) -> None:
        """Sample load and keep process settings, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._sample(), name="admin load")
            tasks.create_task(self.processes.run(), name="admin processes")
            if ready is not None:
                ready.set()

    async def _sample(self) -> None:
        while True:
            self._load.sample(self.speed)
            await asyncio.sleep(SAMPLE_S)

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        if self._tasks is None:
            raise RuntimeError("administration is not running")

        async def owned() -> None:
            await work

        return self._tasks.create_task(owned(), name="admin move")

    def _check_destination(self, to: Destination) -> None:
        if isinstance(to, int) and self.cluster.address_of(to) is None:
            raise not_configured(to)

    def _accept(self, change: admin.Change, name: str) -> bool:
        if change.already:
            return True
        try:
            save_settings(self._state_dir, change.settings)
        except OSError as error:
            message = f"{name}: could not be stored below {self._state_dir} ({error.strerror}); nothing changed"
            raise MosixError("not-stored", message, EXIT_FAILED) from None
        self._settings = change.settings
        said = _SAID.get((name, bool(getattr(change.settings, name, None))))
        log.info(said or f"{name} changed")
        for listener in self._listeners:
            listener(change.settings)
        return False


async def _log_error(move: Awaitable[None], pid: int) -> None:
    try:
        await move
    except MosixError as error:
        log.warning("process %d was not moved: %s", pid, error.message)
