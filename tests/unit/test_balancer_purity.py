"""The balancer is pure: no I/O, no clock, no chance of its own, no sibling package."""

from __future__ import annotations

import ast
import pathlib

import balancer

ROOT = pathlib.Path(balancer.__file__).parent
ALLOWED = {"__future__", "bisect", "collections", "heapq", "math", "msgspec", "operator", "struct", "typing", "xml"}
COMMAND = ROOT / "simulate" / "main.py"


def imported(path: pathlib.Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add((node.module or "").split(".")[0])
    return names


def test_imports_are_pure() -> None:
    files = sorted(ROOT.rglob("*.py"))
    assert len(files) > 30
    for path in files:
        allowed = ALLOWED | {"balancer"} | ({"argparse", "json", "sys"} if path == COMMAND else set())
        assert imported(path) <= allowed, path


def test_the_core_does_not_know_the_simulator() -> None:
    for path in ROOT.rglob("*.py"):
        if "simulate" not in path.parts:
            assert "balancer.simulate" not in path.read_text(encoding="utf-8"), path
            assert "open(" not in path.read_text(encoding="utf-8"), path
