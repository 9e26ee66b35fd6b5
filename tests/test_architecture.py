"""The structure of the code base, enforced: rooms, purity, sizes, names.

Import directions between rooms are contracts in .importlinter; here stands what they cannot say.
"""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("omprotocol", "omdiscd", "balancer", "migrated", "moscmd", "openmosixview", "omlab")
LINES_MAX = 400
# Machine code and kernel structures are tables, not ideas.
SIZE_EXEMPT = ("_blob.py", "_tables.py")
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
IMPURE = {"asyncio", "socket", "os", "time", "random", "subprocess", "threading", "select", "signal", "ssl"}
HEAVY = ("aiohttp.web", "cryptography.x509", "msgspec", "netifaces", "psutil", "textual.app", "uvloop")


def module_files() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def python_files() -> list[Path]:
    extra = [p for top in ("tests", "bench", "setup") for p in (ROOT / top).rglob("*.py")]
    return module_files() + sorted(extra)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_pure(module: str) -> bool:
    parts = module.split(".")
    return parts[0] == "balancer" or "core" in parts[1:] or parts[:2] == ["omdiscd", "wire"]


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


@functools.cache
def imports(module: str) -> frozenset[str]:
    """Absolute names a module imports when it runs; imports for type checkers only do not count."""
    base = ROOT.joinpath(*module.split("."))
    path = base.with_suffix(".py") if base.with_suffix(".py").exists() else base / "__init__.py"
    if not path.exists():
        return frozenset()
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
                package = package[: len(package) - (node.level - 1)]
                origin = ".".join([*package, *([origin] if origin else [])])
            found.add(origin)
            found.update(f"{origin}.{alias.name}" for alias in node.names)
        pending += [child for child in ast.iter_child_nodes(node) if not is_type_checking_node(child)]
    return frozenset(found)


def is_type_checking_node(node: ast.AST) -> bool:
    return isinstance(node, ast.stmt) and is_type_checking(node)


def impurities(module: str) -> list[str]:
    """Ways from a module to an impure import, through our own modules."""
    found, seen, pending = [], {module}, [(module, module)]
    while pending:
        current, way = pending.pop()
        for name in imports(current):
            if name.split(".")[0] in IMPURE:
                found.append(f"{way} -> {name}")
            elif name.split(".")[0] in ROOMS and name not in seen:
                seen.add(name)
                pending.append((name, f"{way} -> {name}"))
    return sorted(found)


def test_files_are_small() -> None:
    large = {}
    for path in python_files():
        lines = len(path.read_text().splitlines())
        if lines > LINES_MAX and not path.name.endswith(SIZE_EXEMPT):
            large[str(path.relative_to(ROOT))] = lines
    assert large == {}


def test_names_say_what_is_inside() -> None:
    assert [str(path) for path in python_files() if path.stem in VAGUE_NAMES] == []


def test_every_module_says_what_it_owns() -> None:
    silent = [
        module_name(path)
        for path in module_files()
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_pure_rooms_are_pure() -> None:
    assert [way for path in module_files() if is_pure(module_name(path)) for way in impurities(module_name(path))] == []


@pytest.mark.parametrize("source", ["import os", "from os import path", "def f():\n    import socket"])
def test_an_impure_import_would_be_seen(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "balancer").mkdir()
    (tmp_path / "balancer/bad.py").write_text(source)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    imports.cache_clear()
    try:
        assert impurities("balancer.bad")
    finally:
        imports.cache_clear()


# Third-party modules are loaded once, then every module of ours is imported in a fork of its own.
_IMPORT_EACH = """
import importlib, os, sys, traceback
for name in sys.argv[1].split(","):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
failed = 0
for name in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            print(f"--- import {name}", file=sys.stderr)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    failed |= os.waitpid(child, 0)[1]
sys.exit(failed != 0)
"""


def test_every_module_can_be_imported_first() -> None:
    names = [module_name(path) for path in module_files() if path.stem != "__main__"]
    answer = subprocess.run(
        [sys.executable, "-c", _IMPORT_EACH, ",".join(HEAVY), *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr


def test_import_contracts_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    answer = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert answer.returncode == 0, answer.stdout
