"""Programs run from the advanced execution window, with mosrun's settings.

Owns the child processes, their output (cut) and their exit statuses. Programs run as the user of the view, in
sessions of their own, and end with the view: somebody who wants more starts them in a terminal.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from omprotocol.errors import EXIT_NOT_FOUND, MosixError
from openmosixview.json_requests import bad, whole

OUTPUT_BYTES = 256 << 10
"""Output kept per program: its end."""
MAX_RUNNING = 16
MAX_KEPT = 32
END_S = 5.0
"""How long a program may take to end after SIGTERM."""
PLACES = {"free": ["-l"], "home": ["-h"], "nomig": ["-L"]}
DECAYS = {"": [], "cpu": ["-c"], "io": ["-i"], "none": ["-n"], "slow": ["-s"], "fast": ["-f"]}

Spawn = Callable[[Awaitable[None]], None]


def mosrun_words(order: Mapping[str, Any]) -> list[str]:
    """The command line of an order, without mosrun itself. Raises MosixError `bad-request`.

    `command` a line as in a shell without its magic; `place` free, home, nomig or nodes (then `nodes`, a list such
    as 1-3,7, with `force` whether an absent node is no failure and `unlock` whether it may migrate on from there);
    `decay` "", cpu, io, none, slow, fast or own (then `rate` of 1000 is kept every `interval_s` seconds), with `once`
    whether it ends at the next exec and `own_only` whether children do not inherit it.
    """
    line, place = order.get("command"), order.get("place", "free")
    if not isinstance(line, str) or len(line) > 4096 or "\0" in line:
        raise bad("A command line is expected.")
    try:
        program = shlex.split(line)
    except ValueError as error:
        raise bad(f"The command line is not complete: {error}.") from None
    if not program:
        raise bad("Which program shall run?")
    if place == "nodes":
        nodes = str(order.get("nodes", "")).replace(" ", "")
        if not nodes or len(nodes) > 400 or not set(nodes) <= set("0123456789,-") or not nodes[0].isdecimal():
            raise bad("Nodes are given as numbers and ranges, for example 1-3,7.")
        words = [f"-j{nodes}", *_flags(order, force="-F", unlock="-l")]
    elif place in PLACES:
        words = list(PLACES[str(place)])
    else:
        raise bad("Where shall it run: free, home, nomig or nodes?")
    return [*words, *_decay(order), "--", *program]


def _decay(order: Mapping[str, Any]) -> list[str]:
    decay = order.get("decay", "")
    if decay == "own":
        words = [f"-d{whole(dict(order), 'rate', 0, 1000)}", f"-t{whole(dict(order), 'interval_s', 1, 65535)}"]
    elif isinstance(decay, str) and decay in DECAYS:
        words = list(DECAYS[decay])
    else:
        raise bad("The decay of statistics is not one that mosrun knows.")
    return words + (_flags(order, once="-e", own_only="-r") if decay else [])


def _flags(order: Mapping[str, Any], **flags: str) -> list[str]:
    return [flag for name, flag in flags.items() if order.get(name) is True]


class Run:
    """One program."""

    def __init__(self, number: int, words: list[str]) -> None:
        self.number = number
        self.command = shlex.join(words)[:500]
        self.output = bytearray()
        self.dropped_bytes = 0
        self.pid = 0
        self.status: int | None = None
        self.message = ""

    def keep(self, chunk: bytes) -> None:
        """Append output; the beginning goes when it is too much."""
        self.output += chunk
        surplus = len(self.output) - OUTPUT_BYTES
        if surplus > 0:
            del self.output[:surplus]
            self.dropped_bytes += surplus

    def as_plain(self, with_output: bool) -> dict[str, Any]:
        """The run for JSON. `status` None while it runs; negative: the signal that ended it."""
        plain: dict[str, Any] = {"id": self.number, "command": self.command, "pid": self.pid, "status": self.status}
        plain |= {"message": self.message, "is_running": self.status is None and not self.message}
        if with_output:
            plain |= {"output": self.output.decode("utf-8", "replace"), "dropped_bytes": self.dropped_bytes}
        return plain


class Runs:
    """All programs of one view."""

    def __init__(self, spawn: Spawn, ended: Callable[[Run], None], mosrun: list[str] | None = None) -> None:
        self._spawn = spawn
        self._ended = ended
        self._mosrun = mosrun_command() if mosrun is None else mosrun
        self._serial = itertools.count(1)
        self._runs: dict[int, Run] = {}

    def start(self, words: list[str]) -> Run:
        """Begin a program. Raises MosixError `busy`."""
        if sum(1 for run in self._runs.values() if run.as_plain(False)["is_running"]) >= MAX_RUNNING:
            raise MosixError("busy", f"{MAX_RUNNING} programs of this view are running: wait until one has ended.")
        run = Run(next(self._serial), ["mosrun", *words])
        self._runs[run.number] = run
        for number in [n for n, old in self._runs.items() if not old.as_plain(False)["is_running"]][:-MAX_KEPT]:
            del self._runs[number]
        self._spawn(self._watch(run, [*self._mosrun, *words]))
        return run

    def get(self, number: int) -> Run:
        """A run by number. Raises MosixError `no-such-run`."""
        run = self._runs.get(number)
        if run is None:
            raise MosixError("no-such-run", "This program is not known (any more).", EXIT_NOT_FOUND)
        return run

    def listing(self) -> list[dict[str, Any]]:
        """All runs, newest first."""
        return [run.as_plain(False) for run in reversed(self._runs.values())]

    def stop(self, number: int) -> None:
        """Ask a program and its children to end. Raises MosixError."""
        run = self.get(number)
        if run.pid and run.status is None:
            _signal_group(run.pid, signal.SIGTERM)

    async def _watch(self, run: Run, argv: list[str]) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                cwd=os.environ.get("HOME") or "/",
            )
        except OSError as error:
            run.message = f"It could not be started: {error.strerror}."
            self._ended(run)
            return
        run.pid = process.pid
        try:
            assert process.stdout is not None
            while chunk := await process.stdout.read(65536):
                run.keep(chunk)
            run.status = await process.wait()
        finally:
            if process.returncode is None:
                await _end(process)
        self._ended(run)


def mosrun_command() -> list[str]:
    """How to start mosrun: the one installed beside this program, else the one of the PATH."""
    beside = Path(sys.executable).with_name("mosrun")
    return [str(beside)] if beside.exists() else ["mosrun"]


async def _end(process: asyncio.subprocess.Process) -> None:
    _signal_group(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        _signal_group(process.pid, signal.SIGKILL)
        await process.wait()


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except OSError:
        pass
