"""Pipes that a process holds both ends of find their own again."""

from __future__ import annotations

import os

from migrated.deputy.body_state import OpenFile
from migrated.deputy.descriptor_plan import plan_descriptors


def _pipe(fd: int, link: str, flags: int) -> OpenFile:
    return OpenFile(fd, link, "pipe", flags, 0, fd, [])


def test_the_two_ends_of_a_pipe_stay_where_they_are() -> None:
    home = [_pipe(3, "pipe:[7]", os.O_RDONLY), _pipe(4, "pipe:[7]", os.O_WRONLY)]
    body = [_pipe(3, "pipe:[90]", os.O_RDONLY), _pipe(4, "pipe:[90]", os.O_WRONLY)]
    plan = plan_descriptors(home, body, {"pipe:[90]": 3})
    assert plan.reasons == []
    assert plan.copies == []
    assert plan.closes == []


def test_a_pipe_opened_while_away_is_a_reason() -> None:
    body = [_pipe(3, "pipe:[90]", os.O_RDONLY)]
    assert plan_descriptors([], body, {}).reasons
