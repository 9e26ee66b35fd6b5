"""The switches of `mosctl`: what is written and what is said, also when it was so already.

Owns the texts of openmosix.md 5.2. The daemon decides whether something changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moscmd.command import print_json
from moscmd.mosctl_request import admin_request, show_progress


@dataclass(frozen=True)
class Switch:
    """One position of a switch."""

    setting: str
    value: int
    changed: str
    already: str


SWITCHES = {
    "stay": Switch(
        "stay", 1,
        "Automatic load-balancing disabled: no processes will leave This node\n(except by an explicit request)",
        "Automatic load-balancing already disabled.",
    ),
    "nostay": Switch(
        "stay", 0, "automatic load-balancing re-enabled.", "automatic load-balancing already enabled."
    ),
    "lstay": Switch(
        "lstay", 1,
        "No local processes will leave the node automatically.",
        "Local processes already not leaving the node automatically.",
    ),
    "nolstay": Switch(
        "lstay", 0,
        "Local processes may now leave the node automatically.",
        "Local processes already allowed to leave automatically.",
    ),
    "block": Switch(
        "block", 1, "Remote processes will not be allowed in here.", "Remote processes already not allowed here."
    ),
    "noblock": Switch(
        "block", 0, "Remote processes now allowed in.", "Remote processes already allowed in."
    ),
    "quiet": Switch(
        "quiet", 1,
        "Load-balancing activity is now shut-down (for fine-timing measurements)",
        "Load-balancing activity already shut-down.",
    ),
    "noquiet": Switch(
        "quiet", 0, "Load balancing activity now resumed.", "Load balancing already active."
    ),
    "nomfs": Switch(
        "nomfs", 1, "MFS access to this node now disallowed.", "MFS access already disallowed to this node."
    ),
    "mfs": Switch("nomfs", 0, "MFS access to this node now allowed.", "MFS access already enabled."),
}  # fmt: skip

EVACUATIONS = {
    "expel": "All remote processes were expelled and no further remote processes accepted.",
    "bring": "All local processes were brought back and will stay here.",
    "drain": "All remote processes left. This node takes no more of them until undrain.",
}


def switch(name: str, node: int, as_json: bool) -> int:
    """Put a switch into a position. Raises MosixError."""
    chosen = SWITCHES[name]
    answer = admin_request("admin.set", node, name=chosen.setting, value=chosen.value)
    _say(name, node, answer, chosen.already if answer["already"] else chosen.changed, as_json)
    return 0


def evacuate(name: str, node: int, as_json: bool) -> int:
    """expel, bring or drain; returns when done. Raises MosixError that names who did not move."""
    answer = admin_request(f"admin.{name}", node, on_progress=None if as_json else show_progress)
    _say(name, node, answer, EVACUATIONS[name], as_json)
    return 0


def undrain(node: int, as_json: bool) -> int:
    """Take guests again. Raises MosixError."""
    answer = admin_request("admin.set", node, name="drain", value=0)
    text = "This node was not draining." if answer["already"] else "This node is no longer draining."
    _say("undrain", node, answer, text, as_json)
    return 0


def _say(name: str, node: int, answer: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print_json(name, answer | {"node": node})
    else:
        print(text)
