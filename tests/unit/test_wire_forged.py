"""Forged datagrams, made with a scapy layer for our header: all are dropped, none raises."""

import random

from scapy.fields import ByteField, IntField, LongField, ShortField, StrFixedLenField
from scapy.packet import Packet, Raw, fuzz

from omdiscd.wire.header import MAGIC, VERSION
from omdiscd.wire.seal import Drop, Opener, Sealer, key_id

KEY = bytes(range(32))


class MosixDatagram(Packet):
    """The clear header of `omdiscd.wire.header`."""

    name = "openMosix datagram"
    fields_desc = [  # noqa: RUF012 - scapy's way
        IntField("magic", MAGIC),
        ByteField("version", VERSION),
        ByteField("zero", 0),
        ShortField("key_id", key_id(KEY, "")),
        ShortField("node", 7),
        StrFixedLenField("boot_id", b"b" * 16, length=16),
        LongField("counter", 1),
    ]


def test_the_layer_reads_a_real_datagram() -> None:
    layer = MosixDatagram(Sealer(KEY, "", 2780, b"b" * 16).seal(b"hello"))
    assert (layer.magic, layer.node, layer.boot_id, layer.counter) == (MAGIC, 2780, b"b" * 16, 1)
    assert layer.key_id == key_id(KEY, "")


def test_a_right_header_without_the_key_is_forged() -> None:
    assert Opener(KEY, "").open(bytes(MosixDatagram() / Raw(bytes(64))), 0.0) is Drop.FORGED


def test_a_real_body_under_another_header_is_forged() -> None:
    body = Sealer(KEY, "", 7, b"b" * 16).seal(b"hello")[34:]
    opener = Opener(KEY, "")
    for changes in ({"node": 8}, {"counter": 2}, {"boot_id": b"c" * 16}):
        assert opener.open(bytes(MosixDatagram(**changes) / Raw(body)), 0.0) is Drop.FORGED


def test_fuzzed_headers_are_dropped() -> None:
    random.seed(1)
    opener = Opener(KEY, "")
    for second in range(500):
        dropped = opener.open(bytes(fuzz(MosixDatagram()) / Raw(random.randbytes(random.randrange(1200)))), second)
        assert isinstance(dropped, Drop)
    for second in range(500):
        almost = MosixDatagram(node=random.randrange(65536), counter=random.getrandbits(64))
        dropped = opener.open(bytes(almost / Raw(random.randbytes(17 + second))), second)
        assert isinstance(dropped, Drop)
