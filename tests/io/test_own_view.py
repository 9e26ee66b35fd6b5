"""Names of files of a process in another mount namespace, as that process sees them."""

import subprocess
import sys
from pathlib import Path

import pytest

from migrated.deputy.error import ProcessGone
from migrated.deputy.mappings import read_mappings
from migrated.deputy.open_files import read_open_files
from migrated.deputy.own_view import read_own_links

pytestmark = [pytest.mark.lab]

# Mounts a directory elsewhere in a namespace of its own, then holds a file on it in every way.
HOLDER = """
import mmap, os, sys
from omlab import kernel
source, point = sys.argv[1:3]
kernel.unshare(kernel.CLONE_NEWNS)
kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
kernel.mount(source, point, flags=kernel.MS_BIND)
os.chdir(point)
held = os.open(point + "/data", os.O_RDWR)
memory = mmap.mmap(held, 4096)
print(held, flush=True)
sys.stdin.read()
"""


def test_a_file_on_a_mount_of_its_own_has_its_own_name(tmp_path: Path) -> None:
    source, point = tmp_path / "source", tmp_path / "point"
    source.mkdir()
    point.mkdir()
    (source / "data").write_bytes(bytes(4096))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(source), str(point)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        held = int(holder.stdout.readline())
        assert str(point / "data") in {mapping.name for mapping in read_mappings(holder.pid)}
        assert {entry.fd: entry.link for entry in read_open_files(holder.pid)}[held] == str(point / "data")
        assert read_own_links(holder.pid, ["cwd"]) == [str(point)]
    finally:
        holder.communicate()
    with pytest.raises(ProcessGone):
        read_own_links(holder.pid, ["cwd"])
