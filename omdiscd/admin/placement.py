"""Moving a job of `mosrun` as soon as its program runs.

Owns the wait between mosrun's request and its exec. A job that ends, or never becomes the program, is
forgotten after a while.
"""

from __future__ import annotations

import asyncio
import logging
import time

from omdiscd.admin import process_facts
from omdiscd.admin.evacuation import nobody_listens
from omdiscd.admin.interfaces import Destination, MigrationControl
from omdiscd.core.admin_process import ProcessIdentity
from omprotocol.errors import MosixError

log = logging.getLogger(__name__)

EXEC_S = 10.0
LOOK_S = 0.01
MAX_WAITING = 1024


class Placement:
    """Jobs that wait for their exec."""

    def __init__(self, migration: MigrationControl) -> None:
        self._migration = migration
        self._waiting = 0

    async def after_exec(self, who: ProcessIdentity, before: str, to: Destination) -> None:
        """Wait until the process runs another image than `before`, then move it. Failures are logged."""
        if self._waiting >= MAX_WAITING:
            log.warning("process %d is not placed: too many jobs start at once", who.pid)
            return
        self._waiting += 1
        try:
            if await self._has_become_the_program(who, before):
                await self._migration.move(who.pid, to, nobody_listens)
        except MosixError as error:
            level = logging.DEBUG if to == "balance" else logging.WARNING
            log.log(level, "process %d runs at home: %s", who.pid, error.message)
        finally:
            self._waiting -= 1

    async def _has_become_the_program(self, who: ProcessIdentity, before: str) -> bool:
        deadline = time.monotonic() + EXEC_S
        while time.monotonic() < deadline:
            if process_facts.read_stat(who.pid).identity != who:
                return False
            now = process_facts.image(who.pid)
            if now != before and not now.endswith(":0"):  # 0: in the middle of exec
                return True
            await asyncio.sleep(LOOK_S)
        return False
