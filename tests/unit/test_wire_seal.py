"""Sealed datagrams: only authentic ones open, and nothing a stranger sends can raise or cost much."""

from hypothesis import given, settings
from hypothesis import strategies as st

from omdiscd.wire.header import DATAGRAM_LIMIT_BYTES, HEADER_BYTES, MESSAGE_LIMIT_BYTES, unpack_header
from omdiscd.wire.seal import DERIVATIONS_PER_S, KEYS_KEPT, Drop, Opened, Opener, Sealer

KEY = bytes(range(32))
BOOT = b"b" * 16


def test_a_sealed_message_opens_with_its_header() -> None:
    opened = Opener(KEY, "lab").open(Sealer(KEY, "lab", 7, BOOT).seal(b"hello"), 0.0)
    assert isinstance(opened, Opened)
    assert opened.message == b"hello"
    assert (opened.header.node, opened.header.boot_id, opened.header.counter) == (7, BOOT, 1)


def test_the_form_on_the_wire_does_not_change() -> None:
    datagram = Sealer(KEY, "", 0x0ADC, BOOT).seal(b"hello")
    assert datagram.hex() == (
        "64c4f11e0100cebd0adc626262626262626262626262626262620000000000000001dda0155501101a72984482f74d63310031b3c2f84b"
    )


def test_the_same_message_never_looks_the_same() -> None:
    sealer = Sealer(KEY, "", 7, BOOT)
    assert len({sealer.seal(b"hello")[HEADER_BYTES:] for _ in range(100)}) == 100


def test_every_flipped_bit_is_noticed() -> None:
    opener, datagram = Opener(KEY, ""), Sealer(KEY, "", 7, BOOT).seal(b"hello")
    for bit in range(len(datagram) * 8):
        changed = bytearray(datagram)
        changed[bit // 8] ^= 1 << bit % 8
        assert isinstance(opener.open(bytes(changed), float(bit)), Drop)


def test_every_cut_is_noticed() -> None:
    opener, datagram = Opener(KEY, ""), Sealer(KEY, "", 7, BOOT).seal(b"hello")
    for length in range(len(datagram)):
        assert isinstance(opener.open(datagram[:length], 0.0), Drop)
    assert isinstance(opener.open(datagram + b"x", 0.0), Drop)


def test_another_key_or_label_is_another_cluster() -> None:
    for key, label in ((bytes(32), ""), (KEY, "lab")):
        dropped = Opener(KEY, "").open(Sealer(key, label, 7, BOOT).seal(b"hello"), 0.0)
        assert dropped in (Drop.OTHER_CLUSTER, Drop.FORGED)


def test_a_datagram_cannot_be_given_to_another_node_or_boot_id() -> None:
    opener, datagram = Opener(KEY, ""), Sealer(KEY, "", 7, BOOT).seal(b"hello")
    for offset in (8, 9, 10, 25, 26, 33):
        changed = datagram[:offset] + bytes([datagram[offset] ^ 1]) + datagram[offset + 1 :]
        assert opener.open(changed, 0.0) is Drop.FORGED


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=DATAGRAM_LIMIT_BYTES + 50), st.booleans())
def test_garbage_is_dropped_and_never_raises(garbage: bytes, with_head: bool) -> None:
    head = Sealer(KEY, "", 7, BOOT).seal(b"x")[:HEADER_BYTES] if with_head else b""
    assert isinstance(Opener(KEY, "").open(head + garbage, 0.0), Drop)


def test_a_message_that_does_not_fit_is_refused_by_the_sender() -> None:
    sealer = Sealer(KEY, "", 7, BOOT)
    assert len(sealer.seal(bytes(MESSAGE_LIMIT_BYTES))) == DATAGRAM_LIMIT_BYTES
    try:
        sealer.seal(bytes(MESSAGE_LIMIT_BYTES + 1))
    except ValueError:
        return
    raise AssertionError("a message too long was sealed")


def test_unknown_senders_cost_a_bounded_number_of_derivations_each_second() -> None:
    opener = Opener(KEY, "")
    forged = Sealer(KEY, "", 7, BOOT).seal(b"x")[:-1] + b"?"
    results = [
        opener.open(forged[:10] + count.to_bytes(16, "big") + forged[26:], 5.0)
        for count in range(DERIVATIONS_PER_S + 10)
    ]
    assert results.count(Drop.FORGED) == DERIVATIONS_PER_S
    assert results.count(Drop.OVERLOAD) == 10
    assert isinstance(opener.open(Sealer(KEY, "", 7, BOOT).seal(b"x"), 6.0), Opened)


def test_an_overload_of_strangers_does_not_hinder_known_senders() -> None:
    opener, sealer = Opener(KEY, ""), Sealer(KEY, "", 7, BOOT)
    assert isinstance(opener.open(sealer.seal(b"x"), 5.0), Opened)
    forged = Sealer(KEY, "", 8, BOOT).seal(b"x")[:-1] + b"?"
    while opener.open(forged, 5.0) is not Drop.OVERLOAD:
        pass
    assert isinstance(opener.open(sealer.seal(b"x"), 5.0), Opened)


def test_the_number_of_keys_kept_is_capped() -> None:
    opener = Opener(KEY, "")
    for count in range(KEYS_KEPT + 5):
        sealed = Sealer(KEY, "", 7, count.to_bytes(16, "big")).seal(b"x")
        assert isinstance(opener.open(sealed, count / 100), Opened)
    assert len(opener._ciphers) == KEYS_KEPT


def test_node_zero_is_not_a_sender() -> None:
    assert unpack_header(Sealer(KEY, "", 0, BOOT).seal(b"x")) is None
