"""Manual pages and completions against the real option parsers: nothing undescribed, nothing described and gone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from moscmd.mosctl import ALIASES, SUBCOMMANDS

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packaging"))

import completion  # noqa: E402
import manual  # noqa: E402
import parsers  # noqa: E402

PAGES = sorted((ROOT / "docs/man").glob("*.[1-8]"))
REMAKE = "run .venv/bin/python packaging/manual.py and packaging/completion.py, and commit what changed"


def described_options(page: str) -> set[str]:
    """Options that a page lists as terms of its OPTIONS."""
    section = page.partition("\n.SH OPTIONS\n")[2].partition("\n.SH ")[0]
    terms = re.findall(r"^\.TP\n(.*)$", section, re.MULTILINE)
    return {
        option for term in terms for option in re.findall(r"-[-\w]+", term.replace("\\-", "-").replace("\\fB", " "))
    }


@pytest.mark.parametrize("command", sorted(parsers.COMMANDS))
def test_every_option_is_described_and_every_described_option_exists(command: str) -> None:
    page = next(path for path in PAGES if path.stem == command).read_text()
    real = {option for action in parsers.options_of(parsers.parser_of(command)) for option in action.option_strings}
    assert described_options(page) == real, REMAKE
    for action in parsers.options_of(parsers.parser_of(command)):
        assert action.help or not action.option_strings, f"{command}: {action.dest} has no help"


def test_every_word_of_mosctl_is_described() -> None:
    page = re.sub(r"\\f[BIR]", " ", (ROOT / "docs/man/mosctl.1").read_text().replace("\\-", "-"))
    for word in (*SUBCOMMANDS, *ALIASES):
        assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", page), word


def test_every_page_has_its_source_and_every_command_its_page() -> None:
    assert {path.name for path in PAGES} == {path.stem for path in (ROOT / "docs/man/source").glob("*.txt")}
    commands = {*parsers.COMMANDS, "mps", *completion.WRAPPERS}
    assert commands <= {path.stem for path in PAGES}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_are_made_of_known_macros(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(".TH ")
    for line in text.splitlines():
        if line.startswith("."):
            assert line.split()[0] in (".TH", ".SH", ".TP", ".PP", ".nf", ".fi"), line
        assert re.fullmatch(r"(?:[^\\]|\\[-e&]|\\f[BIR])*", line), line
    if shutil.which("groff"):
        checked = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-z", str(path)], capture_output=True, text=True, timeout=60, check=True
        )
        assert checked.stderr == ""


def test_a_source_becomes_a_page() -> None:
    made = manual.page(
        "thing", "7", "thing(7) - what it is\n## DESCRIPTION\n- a-b: text\n\n    x\\y\n.z\n## SEE ALSO\nb(1)\n"
    )
    assert ".TH THING 7" in made
    assert ".TP\n\\fBa\\-b\\fR\ntext" in made
    assert "x\\ey\n.fi\n\\&.z" in made


@pytest.mark.parametrize("command", [*sorted(parsers.COMMANDS), "mps", *completion.WRAPPERS])
def test_completions_know_every_option(command: str) -> None:
    for path, text in completion.files_of(command).items():
        assert (ROOT / "packaging/completions" / path).exists(), REMAKE
        present = (ROOT / "packaging/completions" / path).read_text()
        for option in completion.options(command):
            word = option if not path.startswith("fish") else option.lstrip("-").split("=")[0]
            assert word in present, (path, option, REMAKE)
        assert text.startswith("#")


def test_bash_completes_words_of_mosctl() -> None:
    bash = shutil.which("bash")
    assert bash
    script = (
        f"source {ROOT}/packaging/completions/bash/mosctl; COMP_WORDS=(mosctl getl); COMP_CWORD=1; "
        "_openmosix_mosctl; echo ${COMPREPLY[*]}"
    )
    printed = subprocess.run([bash, "--norc", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert printed.stdout == "getload\n"
