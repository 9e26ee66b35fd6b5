"""The frame of all commands: exit statuses, help, JSON, closed pipes, and never a traceback."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

from moscmd.command import CommandParser, print_json, printable, run
from omprotocol.errors import MosixError


def _raising(error: BaseException) -> Callable[[Sequence[str]], int]:
    def body(_arguments: Sequence[str]) -> int:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (MosixError("no-such-process", "No such process (7).", 4), 4, "prog: No such process (7).\n"),
        (RuntimeError("a bug"), 1, "prog: failed on an error of its own, RuntimeError: a bug\n"),
        (FileNotFoundError(2, "No such file or directory", "/x"), 1, "prog: No such file or directory (/x)\n"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(5), 5, ""),
    ],
)
def test_every_end_has_its_status_and_at_most_one_line(
    error: BaseException, status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("prog", _raising(error), []) == status
    assert capsys.readouterr().err == text


def test_with_json_errors_are_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prog", _raising(MosixError("busy", "Not now.", 3)), ["--json"]) == 3
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"version": 1, "kind": "error", "data": {"code": "busy", "message": "Not now.", "exit": 3}}


def test_facts_are_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    print_json("thing", {"a": 1})
    assert json.loads(capsys.readouterr().out) == {"version": 1, "kind": "thing", "data": {"a": 1}}


def test_help_begins_with_an_example_and_wrong_arguments_are_usage(capsys: pytest.CaptureFixture[str]) -> None:
    def body(arguments: Sequence[str]) -> int:
        CommandParser("prog", "Do a thing.", "prog now    do it now").parse_args(arguments)
        return 0

    assert run("prog", body, ["--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("prog now    do it now") < shown.index("usage:")
    assert run("prog", body, ["--version"]) == 0
    assert run("prog", body, ["--wrong"]) == 2
    assert "see prog --help" in capsys.readouterr().err


def test_what_a_terminal_might_obey_is_escaped() -> None:
    assert printable("a\x1b[31mb\nc\u202e") == "a\\x1b[31mb\\nc\\u202e"


def test_a_closed_pipe_is_no_error_to_read_about() -> None:
    script = (
        "import sys\n"
        "from moscmd.command import run\n"
        "def body(arguments):\n"
        "    for _ in range(100000): print('x' * 100)\n"
        "sys.exit(run('prog', body, []))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
