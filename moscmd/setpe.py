"""The command `setpe`: checks, installs, shows and removes the static node map.

Owns its options, which are the original's (openmosix.md section 3), and the order of steps: check everything,
install the file, tell the daemon or start it, and put the old file back when that fails.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from moscmd.command import CommandParser, print_json, run
from moscmd.setpe_daemon import install, is_running, remove, running_map, start_daemon, wait_for_number
from moscmd.setpe_machine import find_own, resolve
from omprotocol.control import request
from omprotocol.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, MosixError
from omprotocol.paths import Paths
from omprotocol.static_map import MAX_NODE, StaticMap, parse_map, render_map

MAP_LIMIT_BYTES = 1 << 20
OFF_TEXT = "OpenMosix is currently disabled"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run("setpe", _setpe, arguments)


def parser() -> CommandParser:
    """The options of setpe."""
    made = CommandParser(
        "setpe",
        "Configure the nodes of the cluster from a map instead of finding them by multicast.",
        """setpe -w -f /etc/openmosix.map    check the map and use it
           setpe -c -f /etc/openmosix.map    only check it
           setpe -r                          show the map in use
           setpe -off                        stop openMosix and forget the map""",
    )
    made.add_argument("-w", dest="write", action="store_true", help="read a map and use it; own number unchanged")
    made.add_argument("-W", dest="force", action="store_true", help="the same, though this node gets another number")
    made.add_argument("-c", dest="check", action="store_true", help="only check; the exit status is the verdict")
    made.add_argument("-r", dest="show", action="store_true", help="show the map in use")
    made.add_argument("-off", dest="off", action="store_true", help="stop openMosix on this node")
    made.add_argument(
        "-f", dest="file", metavar="FILE", help="the map, or where -r writes it; - or none: stdin, stdout"
    )
    made.add_argument("-p", dest="node", metavar="ID", help="this node's number, where addresses do not tell")
    made.add_argument("-g", dest="gateways", metavar="N", help="most gateways between two nodes (0-2)")
    made.add_argument("-n", dest="network", metavar="inet", choices=("inet",), help="network family; only inet")
    return made


def _setpe(arguments: Sequence[str]) -> int:
    options = parser().parse_args(["-off" if word.lower() == "-off" else word for word in arguments])
    wanted = [options.write or options.force or options.check, options.show, options.off]
    if wanted.count(True) != 1:
        raise MosixError("usage", "exactly one of -w (or -W, -c), -r and -off is needed (see setpe --help)", EXIT_USAGE)
    if options.off:
        return _off(options.json)
    if options.show:
        return _show(options.file, options.json)
    node = _number(options.node, "-p", 1, MAX_NODE)
    gateways = _number(options.gateways, "-g", 0, 2)
    table = parse_map(_text(options.file), resolve)
    own, address, interface = find_own(table, node)
    if not options.check:
        _install(table, own, interface, options.force)
        if gateways is not None:
            request("admin.set", {"name": "gateways", "value": gateways})
    if options.json:
        print_json(
            "setpe", {"node": own, "address": str(address), "total": table.total, "installed": not options.check}
        )
    return EXIT_OK


def _install(table: StaticMap, own: int, interface: str, may_renumber: bool) -> None:
    paths = Paths.from_environment()
    running = running_map()
    if running is not None and running["node"] not in (0, own) and not may_renumber:
        message = (
            f"This node is #{running['node']} now and would become #{own}: that restarts openMosix here. "
            "Use -W if that is wanted."
        )
        raise MosixError("renumber", message, EXIT_FAILED)
    if running is not None and not running.get("is_static", False) and not may_renumber:
        message = "omdiscd finds the nodes at present. Use -W to change over to the map."
        raise MosixError("discovery", message, EXIT_FAILED)
    restore = install(paths.map_file, render_map(table))
    try:
        if running is not None:
            request("reload", timeout_s=30)
        else:
            start_daemon(interface)
        wait_for_number(own)
    except MosixError as error:
        restore()
        raise MosixError(error.code, f"{error.message} - configuration restored!", error.exit_status) from None


def _off(as_json: bool) -> int:
    was_running = is_running()
    remove(Paths.from_environment())
    if as_json:
        print_json("setpe", {"off": True, "was_running": was_running})
    return EXIT_OK


def _show(file: str | None, as_json: bool) -> int:
    running = running_map()
    if running is None or not running["node"]:
        if as_json:
            print_json("setpe", {"node": 0, "ranges": [], "aliases": []})
        else:
            print(OFF_TEXT)
        return EXIT_OK
    table: StaticMap = running["table"]
    if file is not None:
        _write(file, render_map(table))
        return EXIT_OK
    if as_json:
        ranges = [{"first": r.first, "last": r.last, "address": str(r.address)} for r in table.ranges]
        aliases = [{"node": a.node, "address": str(a.address)} for a in table.aliases]
        print_json("setpe", {"node": running["node"], "ranges": ranges, "aliases": aliases})
        return EXIT_OK
    print(f"This is OpenMosix node #{running['node']}")
    print("Network protocol: 2 (AF_INET)")
    for entry in table.ranges:
        print(f"OpenMosix range  {entry.first}-{entry.last}  begins at {entry.address}")
    for alias in table.aliases:
        print(f"Node {alias.node} has an alias: {alias.address}")
    also = f"; {len(table.aliases)} alias(es)" if table.aliases else ""
    print(f"Total configured: {table.total}{also}")
    return EXIT_OK


def _text(file: str | None) -> str:
    if file in (None, "-"):
        return sys.stdin.read(MAP_LIMIT_BYTES)
    with open(str(file), encoding="utf-8", errors="replace") as opened:
        return opened.read(MAP_LIMIT_BYTES)


def _write(file: str, text: str) -> None:
    if file == "-":
        sys.stdout.write(text)
    else:
        Path(file).write_text(text, encoding="ascii")


def _number(text: str | None, option: str, low: int, high: int) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 6 or not low <= int(text) <= high:
        raise MosixError("usage", f"{option} takes a number within {low}-{high}, not {text[:40]!r}", EXIT_USAGE)
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
