"""Telling systemd how the service is: one datagram to $NOTIFY_SOCKET. Does nothing without systemd.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Send `state`, such as READY=1, STOPPING=1 or WATCHDOG=1. Raises nothing, does not block."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):
        return
    address = "\0" + where[1:] if where[0] == "@" else where
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as to,
    ):
        to.sendto(state.encode(), address)


def watchdog_period_s() -> float | None:
    """Return how often to send WATCHDOG=1, half of what systemd asks for; None when it does not."""
    wanted_us = os.environ.get("WATCHDOG_USEC", "")
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()) or not wanted_us.isdigit():
        return None
    return int(wanted_us) / 2e6 or None
