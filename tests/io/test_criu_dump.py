"""Dumps that fail: the reason is told and the process is as before."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from migrated.criu.dump import DumpRequest, run_dump, start_dump
from migrated.criu.error import CriuError
from migrated.criu.images import tasks
from migrated.criu.kdat import KDAT_PATH, ensure_kdat
from migrated.criu.place import find_criu
from tests.support.guest_lab import Guest, PageStream

pytestmark = [pytest.mark.root, pytest.mark.criu]


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    home = tmp_path / "home"
    home.mkdir()
    program = Guest(home)
    yield program
    program.close()


def request(guest: Guest, images: Path) -> DumpRequest:
    images.mkdir()
    return DumpRequest(pid=guest.pid, images_dir=str(images), freeze_cgroup=guest.cgroup.path, timeout_s=60)


def still_frozen_then_sane(guest: Guest) -> None:
    before = guest.beat()
    assert "frozen 1" in (Path(guest.cgroup.path) / "cgroup.events").read_text()
    assert guest.beat() == before
    guest.cgroup.thaw()
    assert guest.ask("sane()") is True


def test_what_cannot_travel_is_named(guest: Guest, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        guest.say(f"eval globals().update(s=__import__('socket').create_connection({server.getsockname()}))")
        guest.answer()
        guest.freeze()
        with pytest.raises(CriuError, match="Connected TCP socket") as caught:
            run_dump(request(guest, tmp_path / "images"))
        assert caught.value.function == "criu_local_dump"
        assert f"process {guest.pid}" in caught.value.message
        still_frozen_then_sane(guest)


def test_a_page_stream_that_breaks_ends_the_dump(guest: Guest, tmp_path: Path) -> None:
    guest.freeze()
    near, far = socket.socketpair()
    wanted = request(guest, tmp_path / "images")
    wanted.page_server_fd = near.fileno()
    place = find_criu()
    ensure_kdat(place)
    running = start_dump(wanted, place)
    near.close()
    assert far.recv(1)
    far.close()
    with pytest.raises(CriuError, match=f"dump process {guest.pid}"):
        running.collect()
    still_frozen_then_sane(guest)


def test_a_page_server_whose_stream_breaks_says_so(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()

    def broken() -> None:
        with PageStream(images) as stream:
            socket.socket(fileno=socket.dup(stream.fd)).close()

    with pytest.raises(CriuError, match="could not receive the memory"):
        broken()


def test_a_user_s_process_is_dumped_from_a_thread_with_a_strict_umask(tmp_path: Path) -> None:
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    (directory / "home").mkdir()
    previous = os.umask(0o077)
    try:
        guest = Guest(directory / "home", 1000)
        try:
            guest.freeze()
            wanted = request(guest, tmp_path / "images")
            wanted.uid = wanted.gid = 1000
            with ThreadPoolExecutor(1) as pool:
                outcome = pool.submit(run_dump, wanted).result()
            assert outcome.images_dir == wanted.images_dir
            assert [task.pid for task in tasks(wanted.images_dir)] == [guest.pid]
            still_frozen_then_sane(guest)
        finally:
            guest.close()
    finally:
        os.umask(previous)
        shutil.rmtree(directory)


def test_memory_does_not_touch_the_images_directory(guest: Guest, tmp_path: Path) -> None:
    far_images = tmp_path / "far"
    far_images.mkdir()
    guest.freeze()
    wanted = request(guest, tmp_path / "images")
    place = find_criu()
    with PageStream(far_images) as stream:
        wanted.page_server_fd = stream.fd
        start_dump(wanted, place).collect()
    assert not list((tmp_path / "images").glob("pages-*"))
    assert sum(path.stat().st_size for path in far_images.glob("pages-*")) > 1 << 20


def test_the_kernel_feature_cache_is_made_once(tmp_path: Path) -> None:
    ensure_kdat(find_criu())
    before = Path(KDAT_PATH).stat()
    ensure_kdat(find_criu())
    assert Path(KDAT_PATH).stat().st_ino == before.st_ino
