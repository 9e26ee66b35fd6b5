"""A body inside a PID namespace is read with the numbers it has there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from migrated.deputy.snapshot import BodySnapshot

pytestmark = pytest.mark.root

PROGRAM = Path(__file__).parents[1] / "support/deputy_program.py"


def test_a_body_in_a_jail_is_seen_with_its_own_numbers() -> None:
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-S", str(PROGRAM), "0", "alone"]
    jail = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert jail.stdin is not None
        assert jail.stdout is not None
        assert jail.stdout.readline() == b"1\n"
        jail.stdin.write(b"start_threads(1) or started[0].native_id\n")
        jail.stdin.flush()
        native = int(jail.stdout.readline())
        (body,) = Path(f"/proc/{jail.pid}/task/{jail.pid}/children").read_text().split()
        snapshot = BodySnapshot(int(body))
        state = snapshot.state
        snapshot.release(kill=False)
        assert (state.pid, [thread.tid for thread in state.threads]) == (1, [1, native])
        jail.stdin.write(b"1 + 1\n")
        jail.stdin.flush()
        assert jail.stdout.readline() == b"2\n"
    finally:
        jail.kill()
        jail.communicate(timeout=20)
