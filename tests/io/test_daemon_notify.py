"""What systemd is told."""

import os
import socket
from pathlib import Path

import pytest

from omdiscd.io.sd_notify import notify, watchdog_period_s


def test_a_state_is_one_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in (str(tmp_path / "notify"), f"@openmosix-test-{os.getpid()}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(address if address[0] == "/" else "\0" + address[1:])
            systemd.settimeout(30)
            monkeypatch.setenv("NOTIFY_SOCKET", address)
            notify("READY=1")
            assert systemd.recv(100) == b"READY=1"


def test_without_systemd_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    for address in ("", "relative", str(tmp_path / "missing")):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "period_s"),
    [("30000000", None, 15.0), ("30000000", "1", None), ("", None, None), ("x", None, None), ("0", None, None)],
)
def test_the_watchdog_is_fed_twice_as_often_as_asked(
    usec: str, pid: str | None, period_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    assert watchdog_period_s() == period_s
