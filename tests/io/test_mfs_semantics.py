"""Files through MFS behave as the same files at home, for root and for a user, plain and over TLS."""

import os
from pathlib import Path

import pytest

from migrated.mfs.session import ServerOptions
from tests.support.mfs_lab import AWAY, HOME, NATIVE, USER, as_user, in_lab, make_certificate, mounted
from tests.support.mfs_script import Script, picture

pytestmark = [pytest.mark.root, pytest.mark.fuse]


@pytest.mark.parametrize(
    ("seed", "user", "tls", "options"),
    [
        (1, 0, False, ServerOptions()),
        (2, USER, False, ServerOptions()),
        (3, USER, True, ServerOptions()),
        (4, USER, False, ServerOptions(max_fds=16, posix_acl=False)),
        (5, 0, True, ServerOptions(flush=True, keep_cache=False, max_write=16384)),
    ],
)
def test_random_operations_as_native(tmp_path: Path, seed: int, user: int, tls: bool, options: ServerOptions) -> None:
    certificate = make_certificate(tmp_path / "pem") if tls else None

    def work() -> None:
        with mounted(user=user, tls=certificate, options=options):
            script = Script(seed)

            def compare() -> None:
                os.umask(0o027)
                expected = script.run(NATIVE, 900)
                found = script.run(AWAY, 900)
                for step, (want, got) in enumerate(zip(expected, found, strict=True)):
                    assert got == want, f"step {step}"
                assert picture(AWAY) == picture(HOME)

            if user:
                as_user(user, compare)
            else:
                compare()
            assert picture(HOME) == picture(NATIVE)

    in_lab(tmp_path, work)
