"""The reasons a decision leaves behind.

The deciding code writes a term for every filter and every figure when somebody wants to know, and nothing
when nobody does. It must never decide anything by what has been noted.
"""

from __future__ import annotations

import msgspec


class Term(msgspec.Struct, frozen=True, gc=False):
    """One reason: which step, about which process (0 = none) and node (0 = none), what, and its figure if
    it has one.
    """

    step: str
    pid: int
    node: int
    text: str
    value: float | None = None


class Trace:
    """Collects terms in the order in which they were weighed."""

    def __init__(self) -> None:
        self.terms: list[Term] = []

    def note(self, step: str, text: str, *, pid: int = 0, node: int = 0, value: float | None = None) -> None:
        """Keep one reason."""
        self.terms.append(Term(step, pid, node, text, value))
