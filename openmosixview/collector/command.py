"""The command `openmosixcollector`: start, stop, checkpoint, save, export.

Owns its arguments and becoming a daemon. Without an option it prints a short help, as the original did.
"""

from __future__ import annotations

import asyncio
import json
import logging
import logging.handlers
import os
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from omprotocol.errors import EXIT_OK, EXIT_USAGE, MosixError
from omprotocol.paths import Paths
from openmosixview.collector.control import CollectorControl, default_directory
from openmosixview.collector.reading import as_csv, as_json
from openmosixview.collector.sampler import Sampler
from openmosixview.collector.schema import open_history
from openmosixview.command_line import parser_for, run_command
from openmosixview.control_client import ControlClient

PROGRAM = "openmosixcollector"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run_command(PROGRAM, _collector, arguments)


def parser() -> ArgumentParser:
    """The options of openmosixcollector."""
    made = parser_for(
        PROGRAM,
        "Collect load, memory, migrations and processes of the cluster for openmosixanalyzer and openmosixhistory.",
        """openmosixcollector -d                    start in the background
           openmosixcollector -n "after upgrade"    a checkpoint in the graphs
           openmosixcollector -r                    save the history, begin a new one
           openmosixcollector --export csv          print what was collected""",
    )
    what = made.add_mutually_exclusive_group()
    what.add_argument("-d", dest="start", action="store_true", help="start as a daemon")
    what.add_argument("--foreground", action="store_true", help="collect until interrupted, messages on standard error")
    what.add_argument("-k", dest="stop", action="store_true", help="stop the daemon")
    what.add_argument(
        "-n", dest="mark", metavar="TEXT", nargs="?", const="checkpoint", help="set a checkpoint, with a word to it"
    )
    what.add_argument("-r", dest="save", action="store_true", help="save the history and begin a new one")
    what.add_argument("--state", action="store_true", help="say whether it runs; status 0 when it does, else 1")
    what.add_argument("--export", choices=("csv", "json"), help="print the history")
    made.add_argument("--hours", type=float, default=0.0, help="export only the last so many hours")
    made.add_argument("--directory", type=Path, help="where the history is (default: your own state directory)")
    return made


def _collector(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    paths = Paths.from_environment()
    control = CollectorControl((options.directory or default_directory(paths)).absolute())
    if options.start:
        return _background(control, paths)
    if options.foreground:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        return _collect(control, paths, lambda: print("collecting", file=sys.stderr))
    if options.stop:
        print(control.stop())
    elif options.mark is not None:
        print(control.checkpoint(options.mark))
    elif options.save:
        print(control.save())
    elif options.state:
        state = control.state()
        print(state["message"])
        return EXIT_OK if state["state"] == "on" else 1
    elif options.export:
        _export(control, options)
    else:
        parser().print_help(sys.stderr)
        return EXIT_USAGE
    return EXIT_OK


def _export(control: CollectorControl, options: Namespace) -> None:
    connection = open_history(control.history)
    try:
        start = int(time.time() - options.hours * 3600) if options.hours > 0 else 0
        if options.export == "csv":
            for line in as_csv(connection, start, 2**40):
                sys.stdout.write(line)
        else:
            json.dump(as_json(connection, start, 2**40), sys.stdout)
            sys.stdout.write("\n")
    finally:
        connection.close()


def _collect(control: CollectorControl, paths: Paths, ready: Callable[[], None]) -> int:
    lock = control.take_lock()
    try:
        connection = open_history(control.history, create=True)
        try:
            asyncio.run(_until_signalled(Sampler(ControlClient(paths.control_socket), connection), ready))
        finally:
            connection.close()
    finally:
        os.close(lock)
    return EXIT_OK


async def _until_signalled(sampler: Sampler, ready: Callable[[], None]) -> None:
    sampling = asyncio.create_task(sampler.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, sampling.cancel)
    ready()
    try:
        await sampling
    except asyncio.CancelledError:
        return


def _background(control: CollectorControl, paths: Paths) -> int:
    """Fork twice; the command returns when the collector collects, or with its error."""
    if control.running_pid():
        raise MosixError("running", "A collector is running already.")
    read_fd, write_fd = os.pipe()
    if os.fork():
        os.close(write_fd)
        with os.fdopen(read_fd, "rb") as verdict:
            said = verdict.read(4096).decode("utf-8", "replace")
        os.wait()
        if said != "+":
            raise MosixError("failed", said or "The collector ended before it was ready: see the system's log.")
        return EXIT_OK
    os.close(read_fd)
    os.setsid()
    if os.fork():
        os._exit(0)
    _leave_terminal()
    _log_to_syslog()
    verdict_fd = [write_fd]

    def report(text: str) -> None:
        if verdict_fd:
            fd = verdict_fd.pop()
            os.write(fd, text.encode())
            os.close(fd)

    try:
        status = _collect(control, paths, lambda: report("+"))
    except (MosixError, OSError) as error:
        report(str(error))
        status = 1
    os._exit(status)


def _leave_terminal() -> None:
    os.chdir("/")
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)


def _log_to_syslog() -> None:
    if os.path.exists("/dev/log"):
        handler = logging.handlers.SysLogHandler("/dev/log")
        handler.setFormatter(logging.Formatter(f"{PROGRAM}[{os.getpid()}]: %(message)s"))
        logging.getLogger().addHandler(handler)


if __name__ == "__main__":
    sys.exit(main())
