"""Makes the manual pages in docs/man from docs/man/source and the real option parsers.

Usage: .venv/bin/python packaging/manual.py

A source is plain text: the first line "name(section) - what it is", then "## SECTION" headings, "- term: text" for
lists, indented lines for examples, *word* for bold. OPTIONS and EXAMPLES come from the command's own parser.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "packaging")]

from parsers import COMMANDS, options_of, parser_of  # noqa: E402

SOURCE = ROOT / "docs/man/source"
TARGET = ROOT / "docs/man"
MANUAL = "openMosix in user space"
COMMON_EXIT = """0 done; 1 failed; 2 wrong usage; 3 refused or not permitted; 4 no such process or node; 5 no answer in
time; 6 no daemon runs here."""


def main() -> int:
    """Write every page."""
    for source in sorted(SOURCE.glob("*.txt")):
        name, section = source.stem.rsplit(".", 1)
        (TARGET / f"{name}.{section}").write_text(page(name, section, source.read_text()), encoding="utf-8")
    return 0


def page(name: str, section: str, text: str) -> str:
    """One page in man's macros."""
    title, _, body = text.partition("\n")
    summary = title.partition(" - ")[2]
    parts = [f'.TH {name.upper()} {section} "" "{MANUAL}"', ".SH NAME", f"{_escape(name)} \\- {_escape(summary)}"]
    parser = parser_of(name) if name in COMMANDS else None
    if parser is not None and "## SYNOPSIS" not in body:
        usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
        parts += [".SH SYNOPSIS", _bold_first(usage)]
    sections = re.split(r"^## ", body, flags=re.MULTILINE)
    done_options = parser is None
    for part in sections[1:]:
        heading, _, content = part.partition("\n")
        parts += [f".SH {heading}", *_body(content)]
        if heading == "DESCRIPTION" and parser is not None:
            parts += [".SH OPTIONS", *_options(parser)]
            done_options = True
    if not done_options and parser is not None:
        parts += [".SH OPTIONS", *_options(parser)]
    examples = getattr(parser, "_examples", "") if parser is not None else ""
    if examples:
        parts += [".SH EXAMPLES", ".nf", *(_escape(line.strip()) for line in examples.strip().splitlines()), ".fi"]
    if section in "18" and "## EXIT STATUS" not in body:
        parts += [".SH EXIT STATUS", _escape(" ".join(COMMON_EXIT.split()))]
    return "\n".join(parts) + "\n"


def _options(parser: argparse.ArgumentParser) -> list[str]:
    lines: list[str] = []
    for action in options_of(parser):
        if action.option_strings:
            value = "" if action.nargs == 0 else f" \\fI{_escape(str(action.metavar or action.dest.upper()))}\\fR"
            term = ", ".join(f"\\fB{_escape(option)}\\fR" for option in action.option_strings) + value
        else:
            term = f"\\fI{_escape(str(action.metavar or action.dest))}\\fR"
        help_text = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
        lines += [".TP", term, _escape(help_text)]
    return lines


def _body(text: str) -> list[str]:
    lines: list[str] = []
    is_example = False
    for line in text.rstrip().splitlines():
        if is_example and not line.startswith("    ") and line:
            lines.append(".fi")
            is_example = False
        if line.startswith("    "):
            if not is_example:
                lines += [".PP", ".nf"]
                is_example = True
            lines.append(_escape(line[4:]))
        elif line.startswith("- "):
            term, _, rest = line[2:].partition(": ")
            lines += [".TP", f"\\fB{_escape(term)}\\fR", _inline(rest)]
        elif not line:
            lines.append(".PP" if not is_example else "")
        else:
            lines.append(_inline(line.strip()))
    if is_example:
        lines.append(".fi")
    return [line for index, line in enumerate(lines) if not (line == ".PP" and (index == 0 or _is_gap(lines, index)))]


def _is_gap(lines: list[str], index: int) -> bool:
    following = lines[index + 1] if index + 1 < len(lines) else ".PP"
    return following.startswith((".PP", ".TP"))


def _inline(text: str) -> str:
    return re.sub(r"\*([^*\s][^*]*)\*", r"\\fB\1\\fR", _escape(text))


def _bold_first(text: str) -> str:
    first, _, rest = text.partition(" ")
    return f"\\fB{_escape(first)}\\fR {_escape(rest)}".rstrip()


def _escape(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    sys.exit(main())
