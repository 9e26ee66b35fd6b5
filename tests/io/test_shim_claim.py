"""The claim on a process: one at a time, shared with children, and with a memory for effects."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from migrated.shim.claim import Claim, Claimed, is_free


def test_one_at_a_time(tmp_path: Path) -> None:
    directory = tmp_path / "away" / "7"
    assert is_free(directory)
    claim = Claim.take(directory, 7)
    assert not is_free(directory)
    with pytest.raises(Claimed):
        Claim.take(directory, 7)
    claim.release()
    assert is_free(directory)
    again = Claim.take(directory, 7)
    assert not again.had_effect
    again.release()


def test_it_is_free_only_when_every_child_is_dead_and_remembers_effects(tmp_path: Path) -> None:
    go_reader, go_writer = os.pipe()
    done_reader, done_writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        try:
            os.close(go_writer)
            claim = Claim.take(tmp_path, 7)
            if os.fork() == 0:
                claim.effect()
                os.write(done_writer, b"x")
                os.read(go_reader, 1)
        finally:
            os._exit(0)
    os.waitpid(holder, 0)
    os.read(done_reader, 1)
    try:
        assert not is_free(tmp_path)
    finally:
        os.close(go_writer)
    after = Claim.take(tmp_path, 7, timeout_s=40.0)
    assert after.had_effect
    after.forget_effects()
    assert not after.had_effect
    after.release()
    after.effect()  # late, from what still listens: harmless
    for descriptor in (go_reader, done_reader, done_writer):
        os.close(descriptor)
