"""mosrun's arguments: what each option means, what may not be combined, and the rule about the lock."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moscmd.mosrun_options import node_list, parse_wishes
from omprotocol.errors import MosixError


@pytest.mark.parametrize(
    ("words", "lock"),
    [
        ("prog", True), ("-h prog", True), ("-3 prog", True), ("-j1,2 prog", True), ("-c prog", None),
        ("-3 -c prog", True), ("-l prog", False), ("-3 -l prog", False), ("-L -c prog", True), ("-k prog", None),
        ("-d900 -t5 prog", None),
    ],
)  # fmt: skip
def test_placement_or_no_decay_wish_locks(words: str, lock: bool | None) -> None:
    assert parse_wishes(words.split()).lock is lock


@pytest.mark.parametrize(
    ("words", "decay"),
    [("-c p", "cpujob"), ("-I p", "iojob"), ("-N p", "none"), ("-S p", "slow"), ("-f p", "fast"), ("-T 3 p", "own")],
)
def test_decay_letters(words: str, decay: str) -> None:
    assert parse_wishes(words.split()).decay == decay


def test_own_decay_in_both_spellings() -> None:
    wishes = parse_wishes(["-d", "900", "-t5", "p"])
    assert (wishes.rate, wishes.interval_s) == (900, 5)
    assert parse_wishes(["-d0", "p"]).interval_s is None


def test_the_program_keeps_its_own_options() -> None:
    wishes = parse_wishes(["-F", "-e", "-R", "ls", "-l", "-h"])
    assert wishes.program == ["ls", "-l", "-h"]
    assert wishes.is_forced
    assert wishes.survives_exec is False
    assert wishes.is_inherited is True
    assert parse_wishes(["-l", "--", "-odd"]).program == ["-odd"]


def test_argv0() -> None:
    wishes = parse_wishes(["-z", "/bin/sh", "-sh", "-c", "x"])
    assert (wishes.program, wishes.argv0) == (["/bin/sh", "-c", "x"], "-sh")


def test_lists() -> None:
    assert node_list("1-3,7") == [1, 2, 3, 7]
    for text in ("", "0", "3-1", "1-", "-", "1,,2", "1-65535", "65536", "a"):
        with pytest.raises(MosixError):
            node_list(text)


@pytest.mark.parametrize(
    "words",
    [
        "", "-l", "-h -3 p", "-j1 -h p", "-3 -4 p", "-c -i p", "-c -d5 p", "-s -f p", "-l -L p", "-d1001 p", "-t0 p",
        "-t p", "-d", "-z p", "-x p", "-ci p", "-0 p", "-65536 p", "--long p",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_125(words: str) -> None:
    with pytest.raises(MosixError) as caught:
        parse_wishes(words.split())
    assert caught.value.exit_status == 125


@settings(derandomize=True, deadline=None)
@given(st.lists(st.text(alphabet="-dtjhz3cLFe19, p", max_size=4), max_size=6))
def test_any_arguments_are_wishes_or_a_usage_error(words: list[str]) -> None:
    try:
        program = parse_wishes(words).program
    except MosixError as error:
        program = [error.code]
    assert program
