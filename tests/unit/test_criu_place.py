"""Which CRIU is taken, and what is said when there is none; what is read from its log."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from migrated.criu import libcriu, place
from migrated.criu.error import failure, log_tail
from omprotocol.errors import MosixError


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    place.find_criu.cache_clear()
    yield
    place.find_criu.cache_clear()


def made_up(directory: Path, version: str) -> Path:
    for name in ("bin", "lib"):
        (directory / name).mkdir(parents=True)
    binary = directory / "bin" / "criu"
    binary.write_text(f"#!/bin/sh\necho 'Version: {version}'\n")
    binary.chmod(0o755)
    (directory / "lib" / "libcriu.so.2").touch()
    return directory


def test_the_directory_of_the_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENMOSIX_CRIU_DIR", str(made_up(tmp_path, "4.2.1")))
    found = place.find_criu()
    assert found.version == (4, 2, 1)
    assert found.command("check") == [str(tmp_path / "bin/criu"), "--no-default-config", "check"]
    assert found.library == str(tmp_path / "lib/libcriu.so.2")


def test_what_was_looked_at_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = made_up(tmp_path / "old", "3.17.1")
    pairs = [
        (old / "bin/criu", old / "lib/libcriu.so.2"),
        (tmp_path / "bin/criu", tmp_path / "lib/libcriu.so.2"),
    ]
    monkeypatch.setattr(place, "_candidates", lambda: pairs)
    with pytest.raises(MosixError, match=r"version 3\.17\.1, 4\.1 or newer.*bin/criu: not there") as caught:
        place.find_criu()
    assert caught.value.code == "no-criu"


def test_the_log_tells_the_reason(tmp_path: Path) -> None:
    log = tmp_path / "dump.log"
    log.write_text(
        "(00.000001) Version: 4.2.1\n"
        "(00.000002) rlimit: Error (criu/rlimit.c:1): Can't setup RLIMIT_NOFILE for self\n"
        "(00.000003) Error (criu/sk-inet.c:188): inet: Connected TCP socket, consider using --tcp-established\n"
        "(00.000004) Error (criu/cr-dump.c:1975): Dumping FAILED.\n"
    )
    error = failure("dump process 7", "criu_local_dump", -52, 0, log_tail(str(log)))
    assert str(error) == ("CRIU could not dump process 7: inet: Connected TCP socket, consider using --tcp-established")
    assert len(error.log_tail) == 2


def test_without_a_log_the_number_is_named(tmp_path: Path) -> None:
    assert log_tail(str(tmp_path / "none")) == []
    assert str(failure("restore process 7", "criu_local_restore", -70, 0, [])).endswith("returned ECOMM")


def test_the_library_is_never_searched_for() -> None:
    with pytest.raises(ValueError, match="not an absolute path"):
        libcriu.load("libcriu.so.2")
