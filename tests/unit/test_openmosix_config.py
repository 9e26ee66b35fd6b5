"""The original's configuration file: its variables, quoting, and lines that are not variables."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from omdiscd.core.admin import AdminSettings
from omdiscd.openmosix_config import apply_to, parse_openmosix_config
from omdiscd.settings import Options, load_config_and_interfaces
from omprotocol.paths import Paths

EXAMPLE = """
# openMosix configuration
AUTODISC=1
AUTODISCIF="eth1 eth2"   # both
MYOMID=7
MIGRATE=no
BLOCK='yes'
MFS=no
NODESPEED=9967
MOSGATES=1
OVERHEADS="1 2 3 4 5 6 7 8 9 10 11 12 13 14"
MFSCOSTS=
"""


def test_every_variable() -> None:
    config = parse_openmosix_config(EXAMPLE)
    assert config.wants_discovery
    assert config.interfaces == ("eth1", "eth2")
    assert config.own_node == 7
    after = apply_to(AdminSettings(), config)
    assert after == AdminSettings(
        lstay=True, block=True, nomfs=True, speed=9967, gateways=1, overheads=tuple(range(1, 15))
    )


def test_what_makes_no_sense_is_left_out() -> None:
    text = "rm -rf /\nNODESPEED=fast\nBLOCK=maybe\nMOSGATES=9\nOVERHEADS='1 2'\nMIGRATE=$(id)\nMFS=no\n"
    config = parse_openmosix_config(text)
    assert config.settings == {"nomfs": True}
    assert not config.wants_discovery
    assert config.own_node is None


def test_interfaces_come_from_the_option_then_the_native_file_then_this_one(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path, tmp_path)
    (tmp_path / "openmosix.config").write_text("AUTODISCIF=eth1,eth2\n")
    assert load_config_and_interfaces(Options(), paths)[1] == ("eth1", "eth2")
    paths.config_file.write_text('[network]\ninterfaces = ["eth3"]\n')
    assert load_config_and_interfaces(Options(), paths)[1] == ("eth3",)
    assert load_config_and_interfaces(Options(interfaces=("eth4",)), paths)[1] == ("eth4",)


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=200))
def test_any_text_can_be_applied(text: str) -> None:
    apply_to(AdminSettings(), parse_openmosix_config(text + "\nBLOCK=" + text))
