"""The command `omdiscd`: options, checks, becoming a daemon.

Owns what happens before the event loop: everything that can be wrong is found while the user still watches.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import uvloop

from omdiscd import __version__, config, logs
from omdiscd.daemon import Daemon
from omdiscd.io.background import to_background
from omdiscd.io.run_directory import PidFile, make_directory
from omdiscd.io.sd_notify import notify
from omdiscd.membership import AddressChanged
from omdiscd.settings import Options, Settings, load_config_and_interfaces, load_settings
from omprotocol import cluster_key
from omprotocol.errors import EXIT_FAILED, EXIT_OK, MosixError
from omprotocol.paths import Paths

log = logging.getLogger(__name__)

PRIORITY = -10
"""Nice value: a daemon that starves among its users' jobs is taken for dead and balances on old news."""
DESCRIPTORS_MAX = 65536
"""More than all caps on connections together."""

_EXAMPLES = """examples:
  omdiscd                 on the interface of the default route, in the background
  omdiscd -n -i eth1      on eth1, in the foreground, log on standard error
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_FAILED, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    given = _parser().parse_args(arguments)
    os.umask(0o022)
    options = Options(given.interface, given.multicast_ttl)
    report: Callable[[str], None] = _report_in_foreground
    try:
        paths = Paths.from_environment()
        load_config_and_interfaces(options, paths)
        for directory in (paths.run_dir, paths.state_dir, paths.etc_dir):
            make_directory(directory)
        _make_missing_key(paths.cluster_key)
        settings = load_settings(options, paths)
        if not given.nodaemon:
            PidFile(paths.pid_file).close()  # so that a second daemon is refused before it goes out of sight
            report = to_background()
        logs.start_logging(is_background=not given.nodaemon)
        pid_file = PidFile(paths.pid_file)
    except MosixError as error:
        report(error.message + _how_to_change_over(error))
        return EXIT_FAILED
    except OSError as error:
        report(str(error))
        return EXIT_FAILED
    try:
        return _serve(settings, paths, lambda: load_settings(options, paths), report)
    finally:
        pid_file.close()


def _serve(settings: Settings, paths: Paths, reread: Callable[[], Settings], report: Callable[[str], None]) -> int:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the cluster key
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, DESCRIPTORS_MAX), hard))
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)

    def ready() -> None:
        report("")
        notify("READY=1")

    while True:
        try:
            if not _one_life(settings, paths, reread, ready):
                return EXIT_OK
            settings = reread()
        except AddressChanged:
            log.warning("daemon.address_changed")
        except (MosixError, OSError) as error:
            text = error.message if isinstance(error, MosixError) else f"Unable to initialize network: {error}"
            report(text)
            log.error("daemon.failed", extra={"error": text})
            return EXIT_FAILED
        except Exception:
            log.exception("daemon.crashed")
            report("it failed on an error of its own: see its log")
            return EXIT_FAILED


def _one_life(settings: Settings, paths: Paths, reread: Callable[[], Settings], ready: Callable[[], None]) -> bool:
    """Run one daemon to its end; True when another is to follow. Raises what ended it, never a group of
    known errors.
    """
    daemon = Daemon(settings, paths, reread)
    log.info("daemon.starting", extra={"node": daemon.node.number, "address": daemon.node.address})
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(daemon.run(ready))
    except ExceptionGroup as group:
        known = group.subgroup((AddressChanged, MosixError, OSError))
        if known is None:
            raise
        raise _first(known) from group


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _make_missing_key(path: Path) -> None:
    if os.path.lexists(path):
        return
    cluster_key.make(path)
    sys.stderr.write(
        f"omdiscd: made a new cluster key, {path}. This node is a cluster of its own until all nodes "
        "have the same key: copy the file to the others.\n"
    )


def _how_to_change_over(error: MosixError) -> str:
    if error.code != "already-running" or not Paths.from_environment().map_file.exists():
        return ""
    return " It runs by a static map: deactivate that first (setpe -off) to find nodes by discovery."


def _report_in_foreground(error: str) -> None:
    if error:
        sys.stderr.write(f"omdiscd: {error}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="omdiscd",
        description="The openMosix daemon: finds the other nodes and serves this one.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-i",
        "--interface",
        metavar="IF[,IF...]",
        type=_interface_list,
        help="one to six interfaces to speak on; without it, that of the default route",
    )
    parser.add_argument(
        "-m",
        "--multicast-ttl",
        "--multicast_ttl",
        metavar="TTL",
        type=_ttl,
        help="routers an announcement may pass (1 to 255; 1 stays in the local network)",
    )
    parser.add_argument("-n", "--nodaemon", action="store_true", help="stay in the foreground, log on standard error")
    parser.add_argument("--version", action="version", version=f"omdiscd {__version__}")
    return parser


def _interface_list(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not all(names) or len(set(names)) != len(names) or len(names) > config.INTERFACES_MAX:
        raise argparse.ArgumentTypeError(f"one to {config.INTERFACES_MAX} different interfaces are wanted")
    return names


def _ttl(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 255:
        raise argparse.ArgumentTypeError("a TTL of 1 to 255 is wanted")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
