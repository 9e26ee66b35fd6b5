"""The interface of the default route, asked of the kernel in network namespaces of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETUP = """
ip link set lo up
ip link add eth7 type veth peer name eth7p
ip addr add 10.88.0.5/16 dev eth7
ip link set eth7 up
ip link set eth7p up
"""
ASK = "import sys; from omdiscd.io.interfaces import default_interface; print(default_interface())"


@pytest.mark.lab
@pytest.mark.parametrize(
    ("route", "answer"),
    [
        ("ip route add default via 10.88.0.1", "eth7"),
        ("ip route add default dev eth7", "eth7"),
        ("ip route add 10.99.0.0/16 via 10.88.0.1", "no default route"),
        ("true", "no default route"),
    ],
)
def test_default_interface(route: str, answer: str) -> None:
    script = f"{SETUP}{route}\nexec {sys.executable} -c '{ASK}'"
    asked = subprocess.run(
        ["unshare", "-n", "/bin/sh", "-ec", script], capture_output=True, text=True, timeout=100, cwd=ROOT, check=False
    )
    said = asked.stdout.strip() if asked.returncode == 0 else asked.stderr
    assert answer in said
