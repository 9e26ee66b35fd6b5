"""The network interfaces the daemon speaks on.

Owns finding the interface of the default route and the present addresses of the chosen interfaces. Reads
the kernel's tables anew on every call and keeps nothing.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import netifaces
import psutil

from omprotocol.errors import EXIT_FAILED, MosixError

_ROUTE_IS_UP = 0x1  # RTF_UP


@dataclass(frozen=True)
class Interface:
    """One interface that is up and has an IPv4 address, both integers as in the protocol."""

    name: str
    index: int
    address: int
    netmask: int

    @property
    def is_loopback(self) -> bool:
        return self.address >> 24 == 127

    def reaches(self, address: int) -> bool:
        """Whether the address lies in the interface's own network."""
        return (address ^ self.address) & self.netmask == 0


def default_interface() -> str:
    """Return the name of the interface of the default route. Raises MosixError `no-default-route`."""
    # A list of (gateway, interface, whether it is the default); routes without a gateway are not in it.
    routes: Any = netifaces.gateways().get(netifaces.AF_INET, [])
    name = next((route[1] for route in routes if len(route) > 2 and route[2]), None) or _direct_default()
    if name is None:
        message = (
            "Unable to determine the address of the default interface: there is no default route. "
            "Without one, name the interface with -i. Unable to initialize network. Exiting."
        )
        raise MosixError("no-default-route", message, EXIT_FAILED)
    return str(name)


def _direct_default() -> str | None:
    """The interface of a default route that has no gateway, as tunnels have."""
    try:
        lines = Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        name, destination, _gateway, flags, *_, mask, _mtu, _window, _irtt = line.split()
        if destination == mask == "00000000" and int(flags, 16) & _ROUTE_IS_UP:
            return name
    return None


def present_interfaces(names: tuple[str, ...], preferred: str = "") -> list[Interface]:
    """Return those of `names` that are up and have an IPv4 address, in that order.

    `preferred` is the address to use on the first of them; it must be one of its addresses, or of a
    loopback network.
    """
    addresses = psutil.net_if_addrs()
    states = psutil.net_if_stats()
    found = []
    for place, name in enumerate(names):
        if name not in states or not states[name].isup:
            continue
        own = [a for a in addresses.get(name, ()) if a.family == socket.AF_INET]
        wanted = preferred if place == 0 else ""
        chosen = next((a for a in own if not wanted or _is_covered(wanted, a.address, a.netmask)), None)
        if chosen is None:
            continue
        try:
            index = socket.if_nametoindex(name)
        except OSError:
            continue
        netmask = int(IPv4Address(chosen.netmask or "255.255.255.255"))
        found.append(Interface(name, index, int(IPv4Address(wanted or chosen.address)), netmask))
    return found


def _is_covered(wanted: str, address: str, netmask: str | None) -> bool:
    if wanted == address:
        return True
    mask = int(IPv4Address(netmask or "255.255.255.255"))
    is_loopback = address.startswith("127.")
    return is_loopback and (int(IPv4Address(wanted)) ^ int(IPv4Address(address))) & mask == 0
