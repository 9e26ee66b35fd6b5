"""One row along one way: the program is started at home, moved at the points it names, and judged.

The program writes lines, the runner answers some:
  ready PID       once: the process that is to be moved
  step [COMMAND]  it waits; the runner moves it, executes COMMAND in a shell at home, answers "go"; when no move is
                  left: answers "end"
  calm            it waits; no move; answered like step
  during [COMMAND]  it goes on without an answer: the runner moves it meanwhile, then executes COMMAND
  fail TEXT       a check did not hold
  pass            all held; the end follows
"""

from __future__ import annotations

import json
import os
import re
import select
import time
from pathlib import Path
from subprocess import TimeoutExpired
from typing import IO

import msgspec

from omlab.node import Node
from omlab.process import PIPE, TERMINAL, NodeProcess
from tests.conformance.rows import Row, command_of

WAYS: dict[str, tuple[str, ...]] = {
    "never moved": ("stay", "stay"),
    "away": ("2",),
    "away, home": ("2", "home"),
    "away, on, home": ("2", "3", "home"),
    "away, home, away, home": ("2", "home", "3", "home"),
}
HOME_DIRECTORY = "/home/conformance"
REFUSALS = ("unmovable", "cannot come home in place", "a reader of its output does not read")
LINE_TIMEOUT_S = 30.0
MOVE_TIMEOUT_S = 90.0
# Long enough for a program that said "during" to be in the call it spoke of.
_SETTLE_S = 0.15


class Verdict(msgspec.Struct):
    """What became of one run: "pass", "refused" or "fail"; `text` says why; `behind`: home behind its deputy."""

    result: str
    text: str = ""
    behind: bool = False


class Failed(Exception):
    """The run is over, with a text for the table."""


class Run:
    """One program on its way."""

    def __init__(self, home: Node, row: Row, way: str) -> None:
        self.home = home
        self.row = row
        self.moves = list(WAYS[way])
        self.refusals: list[str] = []
        self.behind = False
        self.pid = 0
        self._buffer = b""
        self._directory = f"{HOME_DIRECTORY}/{row.group}-{row.name}-{way.replace(', ', '-').replace(' ', '-')}"

    def verdict(self) -> Verdict:
        """Run it to its end.  Blocks; never raises for what the program or the cluster does."""
        try:
            self._prepare()
            with self._start() as process:
                self._converse(process)
        except (Failed, OSError, TimeoutError) as error:
            return Verdict("fail", str(error), self.behind)
        if self.refusals:
            return Verdict("refused", self.refusals[0], self.behind)
        return Verdict("pass", "", self.behind)

    def _prepare(self) -> None:
        script = f"mkdir -p {self._directory} && chown 1000:1000 {self._directory} && cd {self._directory}"
        script += f" && {self.row.before}" if self.row.before else ""
        done = self.home.run(["sh", "-c", script], check=False)
        if done.returncode:
            raise Failed(f"cannot be prepared: {done.stderr.strip()}")

    def _start(self) -> NodeProcess:
        place = TERMINAL if "terminal" in self.row.options else PIPE
        command = command_of(self.row.group, self.row.name, HOME_DIRECTORY + "/programs")
        if "shell" in self.row.options:
            command = ["bash", "-c", f"{' '.join(command)}; exit $?"]
        return self.home.popen(
            command,
            user=self.row.user,
            stdin=place,
            stdout=place,
            stderr=f"{self._directory}/stderr",
            directory=self._directory,
            environment={"TZ": "Asia/Kathmandu", "CONFORMANCE": "kept"},
        )

    def _converse(self, process: NodeProcess) -> None:
        passed = False
        while (line := self._line(process)) is not None:
            word, _, rest = line.strip().partition(" ")
            if word == "ready":
                self.pid = int(rest)
            elif word == "step":
                moved = self._move()
                self._execute(rest)
                self._say(process, moved)
            elif word == "calm":
                self._say(process, bool(self.moves))
            elif word == "during":
                if self.moves:
                    time.sleep(_SETTLE_S)
                    self._move()
                self._execute(rest)
            elif word == "fail":
                raise Failed(self._told(rest))
            elif word == "pass":
                passed = True
        try:
            status = process.wait(LINE_TIMEOUT_S)
        except TimeoutExpired:
            raise Failed(self._told("it does not end")) from None
        if not passed:
            raise Failed(self._told(f"it ended with status {status} before its checks were done: {self._stderr()}"))
        if status != self.row.ends:
            raise Failed(self._told(f"it ended with status {status} instead of {self.row.ends}"))

    def _told(self, text: str) -> str:
        return f"{text} (after it was refused: {self.refusals[0]})" if self.refusals else text

    def _stderr(self) -> str:
        try:
            lines = self.home.path_of(f"{self._directory}/stderr").read_text().splitlines()
        except OSError:
            return ""
        return lines[-1][:200] if lines else ""

    def _move(self) -> bool:
        if not self.moves:
            return False
        to = self.moves.pop(0)
        if to == "stay":
            return True
        done = self.home.run(
            ["migrate", str(self.pid), to, "--json"], user=self.row.user, check=False, timeout_s=MOVE_TIMEOUT_S
        )
        if done.returncode == 0:
            facts = json.loads(done.stdout)["data"]
            self.behind = self.behind or (to == "home" and not facts.get("in_place", True))
            return True
        self.moves.clear()
        said = (done.stdout + done.stderr).strip()
        try:
            said = json.loads(done.stdout)["data"]["message"]
        except (ValueError, KeyError):
            pass
        said = re.sub(r"([Pp]rocess) #?\d+", r"\1", said)
        code = "refused" if done.returncode == 255 or "unmovable" in said else "error"
        if code == "error" or _is_breakdown(said):
            raise Failed(f"migrate {to}: {said}")
        self.refusals.append(f"{to}: {said}" if to != "2" else said)
        return True

    def _execute(self, command: str) -> None:
        if not command:
            return
        done = self.home.run(["sh", "-c", command], user=self.row.user, check=False, directory=self._directory)
        if done.returncode:
            raise Failed(f"at home, {command!r} failed: {done.stderr.strip()}")

    def _say(self, process: NodeProcess, moved: bool) -> None:
        word = b"go\n" if moved else b"end\n"
        if process.terminal is not None:
            os.write(process.terminal, word)
        else:
            assert process.stdin is not None
            process.stdin.write(word)

    def _line(self, process: NodeProcess) -> str | None:
        """The next line of the program; None at its end."""
        source: int | IO[bytes] | None = process.terminal if process.terminal is not None else process.stdout
        assert source is not None
        end = time.monotonic() + LINE_TIMEOUT_S
        while b"\n" not in self._buffer:
            if not select.select([source], [], [], max(end - time.monotonic(), 0))[0]:
                raise Failed(self._told(f"silent for {LINE_TIMEOUT_S:g} s"))
            try:
                part = os.read(source if isinstance(source, int) else source.fileno(), 4096)
            except OSError:
                part = b""
            if not part:
                return None
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode(errors="replace").rstrip("\r")


def _is_breakdown(said: str) -> bool:
    """Whether a refusal is no refusal but something that broke on the way."""
    return not any(word in said for word in REFUSALS)


def install(home: Node, built: Path) -> None:
    """Put the built programs into the home node.  Only there: at another node they are home's files."""
    target = home.path_of(HOME_DIRECTORY + "/programs")
    target.mkdir(parents=True, exist_ok=True)
    for source in built.iterdir():
        copy = target / source.name
        copy.write_bytes(source.read_bytes())
        copy.chmod(0o755)
