"""The questions of `mosctl`: load, speed, status, memory, decay, tuning, names.

Owns the texts of openmosix.md 5.3. Answers about another node come from that node, or "no response".
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from moscmd.command import print_json
from moscmd.mosctl_request import admin_request, facts_of, node_number
from moscmd.processor_speeds import nearest
from omprotocol.control import request
from omprotocol.errors import EXIT_FAILED, EXIT_OK, MosixError

UP = 2
FLAGS = (("stay", 4), ("lstay", 8), ("block", 16), ("quiet", 32), ("nomfs", 64))
OVERHEAD_LABELS = (
    "Home-node overhead in processing a demand-page",
    "Remote overhead in processing a demand-page",
    "Home-node overhead in processing a system call",
    "Remote overhead in processing a system call",
    "Basic home-node overhead for reading data",
    "Home-node overhead per 1KB read",
    "Basic remote overhead for reading data",
    "Remote overhead per 1KB read",
    "Basic home-node overhead for writing data",
    "Home-node overhead per 1KB written",
    "Basic remote overhead for writing data",
    "Remote overhead per 1KB written",
    "Migration time of an empty process",
    "Extra migration time per dirty page",
)


def query(name: str, node: int, as_json: bool) -> int:
    """One of the questions about a node. Raises MosixError."""
    if name in ("status", "isup"):
        return _standing(name, node, as_json)
    facts = facts_of(node)
    if as_json:
        print_json(name, facts | {"node": node})
    elif name == "getload":
        print(f"load={facts['load']}")
    elif name == "getspeed":
        print(f"speed={facts['speed']}{_guess(facts['speed'], node)}.")
    elif name == "getmem":
        print(f"free memory = {facts['mem']} of {facts['tmem']}")
    elif name == "getfree":
        print(f"raw free memory = {facts['rmem']} of {facts['tmem']}")
    else:
        several = f" (of {100 * facts['cpus']}%)" if facts["cpus"] > 1 else ""
        print(f"Utilizability = {facts['util']}%{several}")
    return EXIT_OK


def getyard(node: int, as_json: bool) -> int:
    """The yardstick. Raises MosixError."""
    speed = admin_request("admin.get", node)["settings"]["sspeed"]
    if as_json:
        print_json("getyard", {"yardstick": speed})
        return EXIT_OK
    print(f"Yardstick speed currently set to {speed}{yardstick_guess(speed)}.")
    return EXIT_OK


def yardstick_guess(speed: int) -> str:
    """The words about which processor that may be; empty when no one is close."""
    named = nearest(speed)
    return f" ({'matching' if named[1] else 'probably'} a {named[0]} processor)" if named else ""


def getdecay(node: int, as_json: bool) -> int:
    """How statistics decay. Raises MosixError."""
    settings = admin_request("admin.get", node)["settings"]
    interval, slow, fast = (settings[name] for name in ("decayinterval", "slowdecay", "fastdecay"))
    if as_json:
        print_json("getdecay", {"interval_s": interval, "slow": slow, "fast": fast})
        return EXIT_OK
    unit = "second" if interval == 1 else "seconds"
    print(f"Decaying statistics of active processes occurs every {interval} {unit}.")
    print(f"Slow decay leaves {slow}/1000.")
    print(f"Fast decay leaves {fast}/1000.")
    return EXIT_OK


def gettune(node: int, as_json: bool) -> int:
    """The overhead parameters in microseconds. Raises MosixError."""
    overheads = admin_request("admin.get", node)["settings"]["overheads"]
    if as_json:
        print_json("gettune", {"overheads_us": overheads})
        return EXIT_OK
    print("Overheads in microseconds on a standard processor")
    print("(applies to all openMosix nodes):")
    for label, value in zip(OVERHEAD_LABELS, overheads, strict=True):
        print(f"\t{label:<47s} = {value}")
    return EXIT_OK


def whois(who: str | None, as_json: bool) -> int:
    """Number of this node, address of a node, or number at an address or host. Raises MosixError."""
    if who is None:
        answer = request("node.whois", {})
        text = f"This is openMosix #{answer['node']}"
    elif who.isdecimal():
        answer = request("node.whois", {"node": node_number(who)})
        text = str(answer["address"])
    else:
        answer = _whois_host(who)
        text = f"{who} is openMosix #{answer['node']}"
    if as_json:
        print_json("whois", answer)
    else:
        print(text)
    return EXIT_OK


def _whois_host(who: str) -> dict[str, Any]:
    try:
        addresses = [entry[4][0] for entry in socket.getaddrinfo(who, None, socket.AF_INET, socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        raise MosixError("no-such-host", f"{who}: No Such Host-Name", EXIT_FAILED) from None
    failure: MosixError | None = None
    for address in addresses:
        try:
            return request("node.whois", {"address": address})
        except MosixError as error:
            if error.code != "no-such-node":
                raise
            failure = MosixError(error.code, f"Node at {who} is not configured", error.exit_status)
    raise failure or MosixError("no-such-host", f"{who}: No Such Host-Name", EXIT_FAILED)


def _standing(name: str, node: int, as_json: bool) -> int:
    status, silence = 0, None
    try:
        status = facts_of(node)["status"]
    except MosixError as error:
        if error.code != "no-response":
            raise
        silence = error
    is_up = bool(status & UP)
    words = [flag for flag, bit in FLAGS if status & bit]
    if as_json:
        data: dict[str, Any] = {"node": node, "up": is_up, "answered": silence is None, "flags": words}
        if name == "status" and node == 0:
            data["daemon"] = request("status")
        print_json(name, data)
    elif name == "status":
        print(",".join(["up" if is_up else "down", *words]) + ".")
    elif silence is None:
        print("yes" if is_up else "no")
    else:
        sys.stderr.write("no (it seems)\n")
        return silence.exit_status
    return EXIT_OK


def _guess(speed: int, node: int) -> str:
    named = nearest(speed) if node == 0 else None
    return "" if named is None else f" ({'' if named[1] else 'close to '}{named[0]})"
