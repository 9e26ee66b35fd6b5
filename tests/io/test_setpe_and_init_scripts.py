"""setpe and the init scripts, really run: a daemon in namespaces of its own, without systemd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 100
SHELL_SCRIPTS = [ROOT / "init.d/openmosix", ROOT / "init.d/omdiscd", *sorted((ROOT / "scripts").iterdir())]
SETUP = """
set -u
mount -t tmpfs none /run && mkdir -p /run/lock
ip link set lo up
ip link add eth1 type veth peer name eth1p
ip addr add 192.168.0.2/24 dev eth1
ip link set eth1 up
ip link set eth1p up
say() { echo "\\$ $*"; "$@" 2>&1; echo "[$?]"; }
until_up() { until mosctl isup 2>/dev/null | grep -q yes; do sleep 0.05; done; }
cd "$BASE"
"""


def run_in_namespaces(base: Path, script: str) -> list[str]:
    """Run a shell script as PID 1 of its own namespaces; everything it started dies with it. Its lines."""
    # Short paths: a Unix socket's name is limited to 107 bytes.
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "BASE": str(base),
        "I": str(ROOT / "init.d/openmosix"),
        "D": str(ROOT / "init.d/omdiscd"),
        "OPENMOSIX_RUN_DIR": "/run/om",
        "OPENMOSIX_STATE_DIR": str(base / "state"),
        "OPENMOSIX_ETC_DIR": str(base / "etc"),
        "OPENMOSIX_MAPS": f"{base}/openmosix.map {base}/mosix.map",
        "LC_ALL": "C",
    }
    (base / "etc").mkdir()
    ended = subprocess.run(
        ["unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc", "/bin/sh", "-c", SETUP + script],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=WAIT_S, env=environment, check=False,
    )  # fmt: skip
    return ended.stdout.splitlines()


def after(lines: list[str], command: str, occurrence: int = 0) -> list[str]:
    """What a said command printed, its exit status in brackets last."""
    starts = [index for index, line in enumerate(lines) if line == f"$ {command}"]
    assert len(starts) > occurrence, (command, lines)
    begin = starts[occurrence] + 1
    end = next(index for index in range(begin, len(lines)) if lines[index].startswith("["))
    return lines[begin : end + 1]


@pytest.mark.lab
@pytest.mark.fuse
def test_setpe(tmp_path: Path) -> None:
    lines = run_in_namespaces(
        tmp_path,
        """
echo "1 192.168.0.1 5" > map; echo "11 192.168.0.1 5" > other; echo "1 10.0.0.1 5" > foreign; echo "nonsense" > bad
say setpe -c -f map; say setpe -c -f foreign; say setpe -c -f bad; say setpe -c -p 3 -f map; say setpe -c -f missing
say setpe; say setpe -w -r; say setpe -w -g 3 -f map
say setpe -w -f map; say mosctl whois; say setpe -r; say setpe -r -f -; say mosctl isup 3; say mosctl getload 4
say cat /run/om/hpc/nodes/5/load; say cat /run/om/hpc/admin/map
say setpe -w -f other; say setpe -W -f other; say mosctl whois
say omdiscd -i eth1
say setpe -off; say setpe -r; say mosctl status
omdiscd -i eth1; until_up; say mosctl whois; say setpe -w -f map; say setpe -W -f map; say mosctl whois 5
say setpe -off
""",
    )
    assert after(lines, "setpe -c -f map") == ["[0]"]
    assert "my IP address" in after(lines, "setpe -c -f foreign")[0]
    assert after(lines, "setpe -c -f foreign")[-1] == "[1]"
    assert after(lines, "setpe -c -f bad") == ["setpe: Bad Table Input: nonsense", "[1]"]
    assert "192.168.0.3" in after(lines, "setpe -c -p 3 -f map")[0]
    assert after(lines, "setpe -c -f missing") == ["setpe: No such file or directory (missing)", "[1]"]
    for usage in ("setpe", "setpe -w -r", "setpe -w -g 3 -f map"):
        assert after(lines, usage)[-1] == "[2]"
    assert after(lines, "setpe -w -f map") == ["[0]"]
    assert after(lines, "mosctl whois") == ["This is openMosix #2", "[0]"]
    assert after(lines, "setpe -r") == [
        "This is OpenMosix node #2",
        "Network protocol: 2 (AF_INET)",
        "OpenMosix range  1-5  begins at 192.168.0.1",
        "Total configured: 5",
        "[0]",
    ]
    assert after(lines, "setpe -r -f -") == ["1 192.168.0.1 5", "[0]"]
    assert after(lines, "mosctl isup 3") == ["no (it seems)", "[5]"]
    assert after(lines, "mosctl getload 4")[-1] == "[5]"
    assert after(lines, "cat /run/om/hpc/nodes/5/load") == ["-101", "[0]"]
    assert after(lines, "cat /run/om/hpc/admin/map") == ["1 192.168.0.1 5", "[0]"]
    assert "Use -W" in after(lines, "setpe -w -f other")[0]
    assert after(lines, "setpe -W -f other") == ["[0]"]
    assert after(lines, "mosctl whois", 1) == ["This is openMosix #12", "[0]"]
    refusal = after(lines, "omdiscd -i eth1")
    assert "setpe -off" in refusal[0]
    assert refusal[-1] == "[1]"
    assert after(lines, "setpe -off") == ["[0]"]
    assert after(lines, "setpe -r", 1) == ["OpenMosix is currently disabled", "[0]"]
    assert after(lines, "mosctl status")[-1] == "[6]"
    assert after(lines, "mosctl whois", 2) == ["This is openMosix #2", "[0]"]
    assert "Use -W" in after(lines, "setpe -w -f map", 1)[0]
    assert after(lines, "setpe -W -f map") == ["[0]"]
    assert after(lines, "mosctl whois 5") == ["192.168.0.5", "[0]"]
    assert after(lines, "setpe -off", 1) == ["[0]"]


@pytest.mark.lab
@pytest.mark.fuse
def test_init_scripts(tmp_path: Path) -> None:
    lines = run_in_namespaces(
        tmp_path,
        """
say $I; say $I status; say $D status; say $D stop
echo "1 192.168.0.1 5" > mosix.map
say $I start; say $I start; say $I status
mosctl block; say $I restart; say mosctl status; mosctl noblock; mosctl lstay
say $I stop; say $I stop; say $I status; say $I start; say mosctl getload; say mosctl stat; $I stop
echo "1 10.0.0.1 5" > mosix.map; echo AUTODISCIF=eth1 > etc/openmosix.config
say $I start; until_up; $I stop
say $D start; say $D status; say $D start; say $D restart; say $D stop; say $D status; say $D nonsense
""",
    )
    openmosix, omdiscd = str(ROOT / "init.d/openmosix"), str(ROOT / "init.d/omdiscd")
    assert after(lines, openmosix)[-1] == "[2]"
    assert after(lines, f"{openmosix} status")[-1] == "[3]"
    assert after(lines, f"{omdiscd} status") == ["omdiscd is stopped.", "[3]"]
    assert after(lines, f"{omdiscd} stop")[-1] == "[0]"
    start = after(lines, f"{openmosix} start")
    assert "openMosix configuration was successful :)" in start
    assert any("deprecated" in line for line in start)
    assert after(lines, f"{openmosix} start", 1)[1:] == ["openMosix is already running.", "[0]"]
    assert after(lines, f"{openmosix} status", 1)[-1] == "[0]"
    assert after(lines, f"{openmosix} restart")[-1] == "[0]"
    assert after(lines, "mosctl status") == ["up,block.", "[0]"]
    assert after(lines, f"{openmosix} stop")[-1] == "[0]"
    assert after(lines, f"{openmosix} stop", 1)[-1] == "[0]"
    assert after(lines, f"{openmosix} status", 2) == ["OpenMosix is currently disabled", "[3]"]
    assert after(lines, f"{openmosix} start", 2)[-1] == "[0]"
    assert after(lines, "mosctl stat") == ["up,lstay.", "[0]"]
    discovered = after(lines, f"{openmosix} start", 3)
    assert any("falling back to autodiscovery" in line for line in discovered)
    assert discovered[-1] == "[0]"
    assert after(lines, f"{omdiscd} start")[-1] == "[0]"
    assert "is running." in after(lines, f"{omdiscd} status", 1)[0]
    assert after(lines, f"{omdiscd} start", 1)[1:] == ["omdiscd is already running.", "[0]"]
    assert after(lines, f"{omdiscd} restart")[-1] == "[0]"
    assert after(lines, f"{omdiscd} stop", 1)[-1] == "[0]"
    assert after(lines, f"{omdiscd} status", 2)[-1] == "[3]"
    assert after(lines, f"{omdiscd} nonsense")[-1] == "[2]"


def test_lsb_headers_and_chkconfig_lines() -> None:
    for name in ("openmosix", "omdiscd"):
        path = ROOT / "init.d" / name
        text = path.read_text()
        assert os.access(path, os.X_OK)
        assert "# chkconfig: 2345 95 5\n# description: " in text
        header = text[text.index("### BEGIN INIT INFO") : text.index("### END INIT INFO")]
        for keyword in ("Provides", "Required-Start", "Required-Stop", "Default-Start", "Default-Stop"):
            assert f"# {keyword}:" in header


@pytest.mark.parametrize("path", SHELL_SCRIPTS)
def test_scripts_are_plain_shell(path: Path) -> None:
    assert path.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["/bin/sh", "-n", str(path)], check=True, timeout=WAIT_S)
