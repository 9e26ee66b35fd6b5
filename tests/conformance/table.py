"""The table of docs/TRANSPARENCY.md, made from the verdicts of a run."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.conversation import WAYS, Verdict
from tests.conformance.differences import DIFFERENCES
from tests.conformance.rows import Row

PAGE = Path("docs/TRANSPARENCY.md")
_BEGIN, _END = "<!-- table: make conformance -->", "<!-- end of the table -->"
_WORDS = {"pass": "yes", "refused": "refused", "fail": "**no**"}


def write_table(verdicts: dict[Row, dict[str, Verdict]]) -> None:
    """Put the table into the page, in place of the one that is there."""
    text = PAGE.read_text()
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    PAGE.write_text(f"{before}{_BEGIN}\n{table(verdicts)}\n{_END}{after}")


def table(verdicts: dict[Row, dict[str, Verdict]]) -> str:
    """The table in Markdown, a part for each group."""
    parts: list[str] = []
    for group in dict.fromkeys(row.group for row in verdicts):
        parts.append(f"\n### {group.capitalize()}\n")
        parts.append("| row | property | " + " | ".join(WAYS) + " | how |")
        parts.append("|---" * (len(WAYS) + 3) + "|")
        for row, found in verdicts.items():
            if row.group == group:
                cells = [_cell(found.get(way)) for way in WAYS]
                parts.append(
                    f"| {row.name} | {_escaped(row.holds)} | {' | '.join(cells)} | {_escaped(how(row, found))} |"
                )
    return "\n".join(parts)


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
