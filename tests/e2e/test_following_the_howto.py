"""docs/FOLLOWING-THE-HOWTO.md, line by line: every command is typed on a node and must say what stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from omlab.cluster import Cluster
from omlab.node import Node

pytestmark = [pytest.mark.lab, pytest.mark.criu, pytest.mark.fuse]
ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/FOLLOWING-THE-HOWTO.md"
PROMPT = re.compile(r"^(root|user)@node(\d)[#$] (.*)$")
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "=== the end of a command ==="


@dataclass
class Typed:
    """One command line and what the document says it prints."""

    command: str
    expected: list[str] = field(default_factory=list)


@dataclass
class Block:
    """The commands of one block, typed by one user into one shell."""

    user: str
    node: int
    lines: list[Typed]


def blocks() -> list[Block]:
    found = []
    for text in BLOCK.findall(DOCUMENT.read_text()):
        block: Block | None = None
        for line in text.splitlines():
            prompt = PROMPT.match(line)
            if prompt:
                block = block or Block(prompt[1], int(prompt[2]), [])
                block.lines.append(Typed(prompt[3]))
            else:
                assert block is not None, line
                block.lines[-1].expected.append(line)
        assert block is not None
        found.append(block)
    return found


def pattern(expected: list[str]) -> re.Pattern[str]:
    """Numbers, hexadecimal words and the amount of blanks may differ; a line of dots stands for any lines."""
    lines = []
    for line in expected:
        if line == "...":
            lines.append(r"(?:.*\n)*?")
            continue
        escaped = re.sub(r"\d+", r"\\d+", re.escape(" ".join(re.sub(r"[0-9a-f]{16}", "<hex>", line).split())))
        lines.append(escaped.replace("<hex>", "[0-9a-f]{16}") + r"\n")
    return re.compile("".join(lines))


@pytest.fixture(scope="module")
def nodes(run_label: str) -> Iterator[Cluster]:
    with Cluster(3, name=f"{run_label}-howto") as made:
        for node in made.nodes.values():
            node.wait_for(lambda node=node: node.run(["showmap"]).stdout.count("10.77.0.") == 3, "three nodes")
        yield made


def wait_until_whole(node: Node) -> None:
    """After a start of the daemon a reader of the document would look again, too."""

    def is_whole() -> bool:
        done = node.run(["showmap"], check=False)
        return done.returncode == 0 and done.stdout.count("10.77.0.") == 3

    node.wait_for(is_whole, "three nodes in the map")


def type_in(node: Node, block: Block) -> list[str]:
    """What each command of a block printed."""
    script = "".join(f"{typed.command}\necho '{MARK}'\n" for typed in block.lines)
    script = script.replace("/etc/init.d/", f"{ROOT}/init.d/")
    user = "om" if block.user == "user" else None
    done = node.run(["sh", "-c", f"exec 2>&1; cd /; sh -s <<'EOF'\n{script}EOF"], user=user, check=False)
    return done.stdout.split(MARK + "\n")


def test_the_document(nodes: Cluster) -> None:
    for block in blocks():
        node = nodes.nodes[block.node]
        outputs = type_in(node, block)
        for typed, output in zip(block.lines, outputs, strict=False):
            seen = "".join(" ".join(line.split()) + "\n" for line in output.splitlines())
            assert pattern(typed.expected).fullmatch(seen), f"{typed.command}\n{seen}"
        assert len(outputs) == len(block.lines) + 1
        if any("init.d" in typed.command for typed in block.lines):
            wait_until_whole(node)


def test_the_document_names_every_command_of_the_how_to() -> None:
    typed = " ".join(typed.command for block in blocks() for typed in block.lines)
    names = "omdiscd showmap setpe migrate mosmon mosctl mosrun mps mtop"
    scripts = "nomig runhome runon cpujob iojob nodecay slowdecay fastdecay"
    for command in f"{names} {scripts}".split():
        assert command in typed
