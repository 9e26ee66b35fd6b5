"""The cluster key file: what is accepted, what is refused and with which cure."""

import base64
import os
from pathlib import Path

import pytest

from omprotocol import cluster_key
from omprotocol.errors import MosixError


def _refusal(path: Path) -> MosixError:
    with pytest.raises(MosixError) as refused:
        cluster_key.load(path)
    assert refused.value.exit_status == 3 or refused.value.code == "no-key"
    return refused.value


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.key"
    cluster_key.make(path)
    return path


def test_a_key_that_was_made_loads(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cluster.key"
    key = cluster_key.make(path)
    assert len(key) == 32
    assert cluster_key.load(path) == key
    assert path.stat().st_mode & 0o777 == 0o400
    assert os.listdir(path.parent) == ["cluster.key"]


def test_a_key_is_never_replaced(key_file: Path) -> None:
    before = key_file.read_bytes()
    with pytest.raises(MosixError) as refused:
        cluster_key.make(key_file)
    assert refused.value.code == "key-exists"
    assert key_file.read_bytes() == before
    assert os.listdir(key_file.parent) == ["cluster.key"]


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o620, 0o602, 0o601, 0o644, 0o777])
def test_every_lax_mode_is_refused_with_a_cure(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    refused = _refusal(key_file)
    assert refused.code == "bad-key"
    assert f"chmod 0400 {key_file}" in refused.message


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_strict_modes_are_accepted(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    cluster_key.check(key_file)


@pytest.mark.root
def test_a_file_of_somebody_else_is_refused(key_file: Path) -> None:
    os.chown(key_file, 65534, 65534)
    assert "belongs to uid 65534" in _refusal(key_file).message


@pytest.mark.root
def test_a_directory_of_somebody_else_is_refused(key_file: Path) -> None:
    os.chown(key_file.parent, 65534, 65534)
    assert str(key_file.parent) in _refusal(key_file).message


def test_a_directory_that_others_may_write_is_refused(key_file: Path) -> None:
    key_file.parent.chmod(0o777)
    assert f"chmod go-w {key_file.parent}" in _refusal(key_file).message


def test_a_link_a_directory_and_nothing_are_refused(key_file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(key_file)
    assert _refusal(link).code == "bad-key"
    assert _refusal(tmp_path).code == "bad-key"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o400)
    assert _refusal(pipe).code == "bad-key"
    assert _refusal(tmp_path / "missing").code == "no-key"


@pytest.mark.parametrize(
    "text",
    [b"", b"\n", b"not base64!\n", base64.b64encode(bytes(31)), base64.b64encode(bytes(33)), b"A" * 100000],
)
def test_anything_but_32_bytes_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "cluster.key"
    path.write_bytes(text)
    path.chmod(0o600)
    assert "32 bytes" in _refusal(path).message


def test_no_message_shows_the_key(key_file: Path) -> None:
    secret = key_file.read_text().strip()
    key_file.chmod(0o644)
    assert secret not in _refusal(key_file).message
    assert secret not in cluster_key.fingerprint(base64.b64decode(secret))
