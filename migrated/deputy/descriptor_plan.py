"""Which descriptors of the deputy stay, and which must be closed, opened or copied to be the body's.

Pure. What is a pipe, socket or terminal at home stayed at home: the body has relay ends of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import msgspec

from migrated.deputy.body_state import OpenFile

_DELETED = " (deleted)"
_PATH_KINDS = frozenset({"file", "directory", "device"})
# The offset in a directory is home's own: MFS hands it through.
SEEKABLE_KINDS = frozenset({"file", "directory"})


class DescriptorPlan(msgspec.Struct):
    """What to do, in this order: copies (from, to), closes, opens, then twins (from, to), then offsets."""

    copies: list[tuple[int, int]]
    closes: list[int]
    opens: list[OpenFile]
    twins: list[tuple[int, int]]
    seeks: list[OpenFile]
    reasons: list[str]


def plan_descriptors(
    home: list[OpenFile], body: list[OpenFile], relays: Mapping[str, int] | None = None
) -> DescriptorPlan:
    """Compare. `home`: without the deputy's own; `relays`: the body's link of a relay -> its descriptor at home;
    None: a descriptor of the same kind at the same number is taken for its relay.
    """
    plan = DescriptorPlan([], [], [], [], [], [])
    ours = {entry.fd: entry for entry in home}
    wanted = {entry.fd for entry in body}
    plan.closes = sorted(fd for fd in ours if fd not in wanted)
    sources: dict[int, int | None] = {}
    for entry in body:
        if entry.twin != entry.fd and entry.twin in sources:
            _follow_twin(plan, ours, entry, sources[entry.twin])
        elif entry.kind in _PATH_KINDS:
            sources[entry.fd] = _place_file(plan, ours, entry)
        else:
            sources[entry.fd] = _place_relay(plan, ours, entry, relays)
    return plan


def follow_renames(home: list[OpenFile], body: list[OpenFile], inode_at: Callable[[str], int | None]) -> None:
    """Give the body's files that home has renamed or deleted the names they have at home now.

    `inode_at`: inode number behind a path at home, None when nothing is there.
    """
    ours = {entry.fd: entry for entry in home}
    for entry in body:
        own = ours.get(entry.fd)
        if own is None or own.link == entry.link or own.kind != entry.kind or own.inode != entry.inode:
            continue
        if entry.kind in SEEKABLE_KINDS and inode_at(entry.link) != entry.inode:
            entry.link = own.link


def _follow_twin(plan: DescriptorPlan, ours: dict[int, OpenFile], entry: OpenFile, source: int | None) -> None:
    """`source`: the home descriptor that the twin stays or was copied from; None: it is opened anew."""
    own = ours.get(entry.fd)
    if source is not None and own is not None and own.twin == ours[source].twin:
        return
    plan.twins.append((entry.twin, entry.fd))


def _place_file(plan: DescriptorPlan, ours: dict[int, OpenFile], entry: OpenFile) -> int | None:
    own = ours.get(entry.fd)
    if (
        own is None
        or own.link != entry.link
        or own.kind != entry.kind
        or _mode(own) != _mode(entry)
        or _is_copy(own, entry)
    ):
        if entry.link.endswith(_DELETED):
            plan.reasons.append(f"it opened {entry.link} while away")
        plan.opens.append(entry)
        return None
    if entry.kind in SEEKABLE_KINDS and own.offset != entry.offset:
        plan.seeks.append(entry)
    return own.fd


def _is_copy(own: OpenFile, entry: OpenFile) -> bool:
    """Whether the body had a copy of a file without a name, to which it may have written."""
    return entry.kind == "file" and entry.link.endswith(_DELETED) and own.inode != entry.inode


def _mode(entry: OpenFile) -> int:
    return entry.flags & os.O_ACCMODE


def _place_relay(
    plan: DescriptorPlan, ours: dict[int, OpenFile], entry: OpenFile, relays: Mapping[str, int] | None
) -> int | None:
    number = relays.get(entry.link) if relays is not None and entry.kind != "anonymous" else entry.fd
    own = ours.get(number) if number is not None else None
    same = ours.get(entry.fd)
    if own is not None and same is not None and same.link == own.link and _mode(same) == _mode(entry):
        own = same  # the two ends of a pipe have one link
    if own is None or own.kind != entry.kind:
        plan.reasons.append(f"it opened a {entry.kind} while away (descriptor {entry.fd})")
        return None
    if entry.kind == "anonymous" and (own.link != entry.link or own.details != entry.details):
        plan.reasons.append(f"its {entry.link} changed while away (descriptor {entry.fd})")
        return None
    if own.fd != entry.fd and (ours.get(entry.fd) is None or ours[entry.fd].twin != own.twin):
        plan.copies.append((own.fd, entry.fd))
    return own.fd
