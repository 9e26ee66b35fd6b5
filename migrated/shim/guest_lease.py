"""The guest's side of the lease at work: asks home for the next one, holds the body when it lapses, gives it up.

A task of its own beside whatever the shim is doing, so that a link that takes nothing more cannot keep a body running.
Giving up means closing the link: everything that waits for home then ends, and the guest with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from migrated.core.lease import GuestLease, Standing, renew_after_s
from migrated.shim.home_state import now
from migrated.shim.link import Link
from migrated.shim.messages import LeaseAsked
from omprotocol.errors import MosixError

_log = logging.getLogger(__name__)
_ASKED_MAX = 64


class LeaseKeeper:
    """One per running guest.  `hold` and `let_go` stop the body and let it go on; neither may wait."""

    def __init__(
        self, pid: int, lease: GuestLease, link: Link, hold: Callable[[], None], let_go: Callable[[], None]
    ) -> None:
        self._pid = pid
        self._lease = lease
        self._link = link
        self._hold = hold
        self._let_go = let_go
        self._asked: dict[int, float] = {}
        self._number = 0
        self._kept_s = now()
        self.held = False

    async def run(self, on_tick: Callable[[], bool]) -> None:
        """Keep it until `on_tick` is false or it cannot be kept; the link is closed then.  Cancel to stop."""
        try:
            while self._keep() and on_tick():
                await asyncio.sleep(renew_after_s(self._lease.lease_s))
        except (MosixError, OSError) as error:
            _log.warning("guest.lease_not_kept", extra={"pid": self._pid, "why": str(error)})
        self._link.close()

    def granted(self, number: int) -> None:
        """Home has answered request `number`."""
        asked_at_s = self._asked.pop(number, None)
        if asked_at_s is not None:
            self._lease.granted(asked_at_s)
            self._settle()

    def _keep(self) -> bool:
        awake = now() - self._kept_s < 3 * renew_after_s(self._lease.lease_s)
        self._kept_s = now()
        self._number += 1
        self._asked[self._number] = now()
        while len(self._asked) > _ASKED_MAX:
            del self._asked[min(self._asked)]
        self._link.post(LeaseAsked(number=self._number))
        return self._settle(awake=awake)

    def _settle(self, *, awake: bool = True) -> bool:
        standing = self._lease.standing(now())
        if standing is Standing.KILL and awake:
            _log.error("guest.lease_ended", extra={"pid": self._pid})
            return False
        # Not awake: it is us who slept (a busy or suspended machine), and home may never have been asked.
        if standing is not Standing.RUN and not self.held:
            _log.warning("guest.held", extra={"pid": self._pid})
            self.held = True
            self._hold()
        elif standing is Standing.RUN and self.held:
            self.held = False
            self._let_go()
        return True
