"""Reading what people write into files of the hpc tree.

Owns the forms of an order: one number, one of two words, several numbers. Anything else is "improper-value",
which the writer sees as "Invalid argument".
"""

from __future__ import annotations

import re

from omdiscd.core.admin import improper

_NUMBER = re.compile(r"[+-]?[0-9]{1,12}", re.ASCII)


def numbers(name: str, text: str, count: int | None = None) -> list[int]:
    """The numbers in a line, exactly `count` when given. Raises MosixError `improper-value`."""
    words = text.strip("\0 \t\r\n").replace(",", " ").split()
    if not all(_NUMBER.fullmatch(word) for word in words):
        raise improper(name, f"{text.strip()[:40]!r} is not a number")
    if count is not None and len(words) != count:
        raise improper(name, f"exactly {count} number(s) are expected")
    return [int(word) for word in words]


def one(name: str, text: str) -> int:
    """The one number in a line. Raises MosixError `improper-value`."""
    return numbers(name, text, 1)[0]


def must_be_one(name: str, text: str) -> None:
    """Accept "1" only. Raises MosixError `improper-value`."""
    if one(name, text) != 1:
        raise improper(name, "only 1 is possible")
