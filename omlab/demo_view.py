"""What the demonstration shows: a picture of the nodes with the jobs on them, redrawn in place.

Draws on a terminal; elsewhere it prints a line whenever a job has changed its place. Knows nothing of
how jobs are moved.
"""

import sys
import time
from dataclasses import dataclass

_REDRAW_S = 0.2
_COLOURS = {1: "\x1b[36m", 2: "\x1b[33m", 3: "\x1b[35m"}
_PLAIN = "\x1b[0m"


@dataclass
class Job:
    """One job as shown: its name, PID at home, node it runs on, finished rounds."""

    name: str
    pid: int
    node: int
    rounds: int = 0


class View:
    """The picture of `nodes` nodes on standard output."""

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes
        self._live = sys.stdout.isatty()
        self._height = 0
        self._drawn_at = 0.0
        self._places: list[int] = []

    def say(self, text: str) -> None:
        """A line of the story, above the picture."""
        self._erase()
        print(text, flush=True)
        self._drawn_at = 0.0

    def show(self, jobs: list[Job]) -> None:
        """Draw, when it is time to."""
        places = [job.node for job in jobs]
        if not self._live:
            if places != self._places:
                print("    " + "   ".join(f"{job.name}: node {job.node}" for job in jobs), flush=True)
                self._places = places
            return
        if time.monotonic() - self._drawn_at < _REDRAW_S:
            return
        self._drawn_at = time.monotonic()
        self._erase()
        lines = [""]
        for number in range(1, self._nodes + 1):
            here = [job for job in jobs if job.node == number]
            boxes = "  ".join(f"{_COLOURS.get(number, '')}▮ {job.name} ({job.rounds}){_PLAIN}" for job in here)
            lines.append(f"    node {number} │ {boxes}")
        lines.append("")
        self._height = len(lines)
        print("\n".join(lines), flush=True)

    def _erase(self) -> None:
        if self._height:
            sys.stdout.write(f"\x1b[{self._height}A\x1b[J")
            self._height = 0
