"""The table of docs/TRANSPARENCY.md, made from the verdicts of a run."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.conversation import WAYS, Verdict
from tests.conformance.differences import DIFFERENCES
from tests.conformance.rows import Row

PAGE = Path("docs/TRANSPARENCY.md")
_BEGIN, _END = "<!-- table: make conformance -->", "<!-- end of the table -->"
_WORDS = {"pass": "yes", "refused": "refused", "fail": "**no**"}


def write_table(rows: list[Row], verdicts: dict[Row, dict[str, Verdict]]) -> None:
    """Renew the table of the page.  `rows`: all there are; the lines of those without a verdict are kept."""
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    kept, _, after = rest.partition(_END)
    PAGE.write_text(f"{before}{_BEGIN}\n{table(rows, verdicts, _lines(kept))}\n{_END}{after}")


def table(rows: list[Row], verdicts: dict[Row, dict[str, Verdict]], kept: dict[str, str]) -> str:
    """The table in Markdown, a part for each group.  `kept`: the line of each row of an earlier run, by its title."""
    parts: list[str] = []
    for group in dict.fromkeys(row.group for row in rows):
        lines = [
            _line(row, verdicts[row]) if row in verdicts else kept.get(row.title, "")
            for row in rows
            if row.group == group
        ]
        parts.append(f"\n### {group.capitalize()}\n")
        parts.append("| row | property | " + " | ".join(WAYS) + " | how |")
        parts.append("|---" * (len(WAYS) + 3) + "|")
        parts += [line for line in lines if line]
    return "\n".join(parts)


def _line(row: Row, found: dict[str, Verdict]) -> str:
    cells = [_cell(found.get(way)) for way in WAYS]
    return f"| {row.name} | {_escaped(row.holds)} | {' | '.join(cells)} | {_escaped(how(row, found))} |"


def _lines(text: str) -> dict[str, str]:
    found, group = {}, ""
    for line in text.splitlines():
        if line.startswith("### "):
            group = line[4:].lower()
        elif line.startswith("| "):
            found[f"{group}/{line.split(' | ')[0][2:]}"] = line
    return found


def how(row: Row, found: dict[str, Verdict]) -> str:
    """How it holds, why it is refused, or what is different."""
    words = []
    if any(verdict.result == "pass" for way, verdict in found.items() if "home" in way):
        behind = any(verdict.behind for verdict in found.values())
        words.append("home behind its deputy" if behind else "home in place")
    words += dict.fromkeys(f"refused: {verdict.text}" for verdict in found.values() if verdict.result == "refused")
    if any(verdict.result == "fail" for verdict in found.values()):
        told = [verdict.text for verdict in found.values() if verdict.result == "fail"]
        words.append(DIFFERENCES.get(row.title) or f"fails: {told[0]}")
    return "; ".join(words)


def unexpected(verdicts: dict[Row, dict[str, Verdict]]) -> list[Row]:
    """Rows that fail without being a known difference."""
    return [
        row
        for row, found in verdicts.items()
        if row.title not in DIFFERENCES and any(verdict.result == "fail" for verdict in found.values())
    ]


def _cell(verdict: Verdict | None) -> str:
    return "" if verdict is None else _WORDS[verdict.result]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
