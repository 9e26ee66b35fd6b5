"""Noticing that interfaces or addresses came, went or changed, by netlink.

Owns the netlink socket. Says only that something changed: whoever is told reads the kernel's tables anew,
which is right also when messages were lost. Bursts are folded into one call.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

SETTLE_S = 0.2
"""Quiet time waited for after a change, since one change of an interface is many messages."""
RETRY_S = 1.0
"""How soon to look again when not everything wanted could be had."""
BATCH = 4096
"""Messages read in one go."""

_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR = 0x1, 0x10  # linux/rtnetlink.h


class LinkWatch:
    """Calls `on_change` once when the watch opens and after every change; False from it means: look again
    soon.
    """

    def __init__(self, on_change: Callable[[], bool]) -> None:
        self._on_change = on_change
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        with socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as netlink:
            netlink.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR))
            loop.add_reader(netlink.fileno(), self._read, netlink)
            try:
                while True:
                    self._changed.clear()
                    is_settled = self._on_change()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(None if is_settled else RETRY_S):
                            await self._changed.wait()
                    await asyncio.sleep(SETTLE_S)
            finally:
                loop.remove_reader(netlink.fileno())

    def _read(self, netlink: socket.socket) -> None:
        self._changed.set()
        for _ in range(BATCH):
            try:
                netlink.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                continue  # ENOBUFS: messages were lost, which is a change all the same
