"""mosctl: every word and alias, what it says, what it says when it was so already, and exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moscmd import mosctl
from omdiscd.admin.interfaces import GuestHere, ProcessAway
from tests.support.command_bench import CommandBench, command_bench


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CommandBench]:
    async with command_bench(tmp_path, monkeypatch) as made:
        yield made


SWITCH_TEXTS = [
    (
        "stay",
        "Automatic load-balancing disabled: no processes will leave This node\n(except by an explicit request)",
        "Automatic load-balancing already disabled.",
    ),
    ("nostay", "automatic load-balancing re-enabled.", "automatic load-balancing already enabled."),
    (
        "lstay",
        "No local processes will leave the node automatically.",
        "Local processes already not leaving the node automatically.",
    ),
    (
        "-lstay",
        "Local processes may now leave the node automatically.",
        "Local processes already allowed to leave automatically.",
    ),
    ("block", "Remote processes will not be allowed in here.", "Remote processes already not allowed here."),
    ("-block", "Remote processes now allowed in.", "Remote processes already allowed in."),
    (
        "quiet",
        "Load-balancing activity is now shut-down (for fine-timing measurements)",
        "Load-balancing activity already shut-down.",
    ),
    ("noquiet", "Load balancing activity now resumed.", "Load balancing already active."),
    ("-mfs", "MFS access to this node now disallowed.", "MFS access already disallowed to this node."),
    ("nonomfs", "MFS access to this node now allowed.", "MFS access already enabled."),
]


async def test_switches(bench: CommandBench) -> None:
    for word, changed, already in SWITCH_TEXTS:
        first = await bench.say(mosctl.main, word)
        second = await bench.say(mosctl.main, word.upper())
        assert (first.status, first.out, first.err) == (0, changed + "\n", "")
        assert (second.status, second.out) == (0, already + "\n")


async def test_every_word_and_alias_is_known(bench: CommandBench) -> None:
    arguments = {"setspeed": ["7"], "setyard": ["7"], "setdecay": ["1", "2", "1"], "key": ["show"]}
    for name, subcommand in mosctl.SUBCOMMANDS.items():
        for word in (name, *subcommand.aliases):
            said = await bench.say(mosctl.main, word, *arguments.get(name, []))
            assert "No such option" not in said.err, word
            assert "Traceback" not in said.err, word


ANSWERS = [
    ("getload 2", "load=50\n"),
    ("getspeed", "speed=9967 (close to PIII/1000).\n"),
    ("speedof 2", "speed=15000.\n"),
    ("status", "up.\n"),
    ("status 2", "up,lstay.\n"),
    ("stat 3", "down.\n"),
    ("isup", "yes\n"),
    ("isup 2", "yes\n"),
    ("getmem 2", "free memory = 10 of 20\n"),
    ("rawfree 2", "raw free memory = 5 of 20\n"),
    ("util 2", "Utilizability = 200% (of 200%)\n"),
    ("getyard", "Yardstick speed currently set to 15000 (matching a PIV/1500 processor).\n"),
    (
        "decay",
        "Decaying statistics of active processes occurs every 2 seconds.\n"
        "Slow decay leaves 975/1000.\nFast decay leaves 926/1000.\n",
    ),
    ("whois", "This is openMosix #1\n"),
    ("whois 2", "10.77.0.2\n"),
    ("whois 10.77.0.3", "10.77.0.3 is openMosix #3\n"),
]


async def test_answers(bench: CommandBench) -> None:
    for words, text in ANSWERS:
        said = await bench.say(mosctl.main, *words.split())
        assert (said.status, said.out, said.err) == (0, text, ""), words
    tune = (await bench.say(mosctl.main, "gettune")).out.splitlines()
    assert tune[2] == "\tHome-node overhead in processing a demand-page  = 81"
    assert len(tune) == 16


MISTAKES = [
    ("", 2, "required"),
    ("nonsense", 1, "No such option"),
    ("stay 1", 2, "Usage: mosctl stay"),
    ("setdecay 1 2", 2, "Usage: mosctl setdecay INTERVAL SLOW FAST"),
    ("setdecay 0 900 800", 2, "Improper value"),
    ("setdecay 65536 900 800", 2, "Improper value"),
    ("setdecay 1 1001 800", 2, "Improper value"),
    ("setdecay 1 900 0", 2, "Improper value"),
    ("setdecay 1 800 900", 2, "slow (800) must be at least fast (900)"),
    ("setdecay a b c", 2, "Improper value"),
    ("setspeed 0", 2, "outside 1-65535"),
    ("setspeed 65536", 2, "outside 1-65535"),
    ("setspeed -1", 2, "Improper value"),
    ("setspeed 1e3", 2, "Improper value"),
    ("setyard PIV/9000", 2, "no such processor"),
    ("getload 3", 5, "no response"),
    ("isup 3", 5, "no (it seems)"),
    ("getload 9", 4, "Node #9 is not configured"),
    ("getload 0", 2, "Improper node number"),
    ("getload 65536", 2, "Improper node number"),
    ("whois no..host", 1, "no..host: No Such Host-Name"),
    ("whois 10.1.1.1", 4, "Node at 10.1.1.1 is not configured"),
    ("--node 9 block", 4, "Node #9 is not configured"),
    ("explain 1", 1, "without a balancer"),
    ("config hide", 2, "Usage"),
]


async def test_mistakes_are_one_line_and_not_exit_status_zero(bench: CommandBench) -> None:
    for words, status, text in MISTAKES:
        said = await bench.say(mosctl.main, *words.split())
        assert said.status == status, (words, said)
        assert text in said.err, (words, said)
        assert said.err.count("\n") == 1, (words, said)
        assert said.out == ""


async def test_setters(bench: CommandBench) -> None:
    assert (await bench.say(mosctl.main, "setspeed", "7000")).out == "Speed set to 7000.\n"
    assert (await bench.say(mosctl.main, "setyard", "this")).out == (
        "Yardstick speed set to 7000 (matching a PIII/700 processor).\n"
    )
    assert bench.service.settings.sspeed == 7000
    assert (await bench.say(mosctl.main, "setyard", "p3_1000")).out.startswith("Yardstick speed set to 10000")
    listed = await bench.say(mosctl.main, "setyard")
    assert listed.status == 1
    assert "PIII/1000" in listed.err
    assert (await bench.say(mosctl.main, "setdecay", "5", "900", "800")).status == 0
    assert bench.service.settings.decayinterval == 5


async def test_emptying_a_node(bench: CommandBench) -> None:
    bench.migration.guest_list = [GuestHere(pid, 2, pid, 1000) for pid in (10, 11)]
    bench.migration.away_list = [ProcessAway(50, 2)]
    said = await bench.say(mosctl.main, "expel")
    assert said.out == "All remote processes were expelled and no further remote processes accepted.\n"
    said = await bench.say(mosctl.main, "bring")
    assert said.out == "All local processes were brought back and will stay here.\n"
    assert (await bench.say(mosctl.main, "status")).out == "up,lstay,block.\n"
    bench.migration.guest_list = [GuestHere(12, 2, 12, 1000)]
    bench.migration.immovable = {12: "its home does not answer"}
    said = await bench.say(mosctl.main, "drain")
    assert said.status == 1
    assert "its home does not answer" in said.err
    assert bench.service.settings.drain
    assert (await bench.say(mosctl.main, "undrain")).status == 0
    assert not bench.service.settings.drain


async def test_json(bench: CommandBench) -> None:
    for words in ("getload 2", "status 3", "getyard", "getdecay", "gettune", "whois", "block", "setspeed 5"):
        said = await bench.say(mosctl.main, "--json", *words.split())
        answer = json.loads(said.out)
        assert (said.status, answer["version"]) == (0, 1)
    for words in ("getload 2 --json", "getload --json 2", "setdecay 1 --json 3 2", "block --node 1 --json"):
        assert json.loads((await bench.say(mosctl.main, *words.split())).out)["version"] == 1
    said = await bench.say(mosctl.main, "--json", "getload", "3")
    assert json.loads(said.out)["data"]["code"] == "no-response"


def test_without_a_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OPENMOSIX_RUN_DIR", str(tmp_path))
    assert mosctl.main(["getload"]) == 6
    assert "omdiscd" in capsys.readouterr().err


def test_help_begins_with_examples_and_names_every_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert mosctl.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert text.index("Examples:") < text.index("usage:")
    assert all(name in text for name in mosctl.SUBCOMMANDS)


def test_imports_stay_light() -> None:
    code = "import sys, moscmd.mosctl; print(sorted({'asyncio', 'msgspec', 'ssl'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert printed.stdout == "[]\n"
