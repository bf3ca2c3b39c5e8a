"""Sealing: label and encryption of packets and streams, and what is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.gossip import sealing
from mesh.gossip.keyring import PADDED
from mesh.gossip.sealing import FRAME_MAX_BYTES, Rejected, Sealing
from tests.gossip.test_keyring import A, B, ring

PING = bytes.fromhex("0082a44e6f6465a26e32a55365714e6f01")
POOLS = {
    "plain": Sealing(),
    "labelled": Sealing("dc1"),
    "keyed": Sealing(keyring=ring(A)),
    "both": Sealing("dc1", ring(A)),
    "other key": Sealing("dc1", ring(B)),
    "other label": Sealing("dc2", ring(A)),
}


def through(one: Sealing, other: Sealing, step: int = 10_000) -> bytes:
    data = one.head + one.seal_stream(PING)
    opener = other.opener()
    return b"".join(opener.feed(data[at : at + step]) for at in range(0, len(data), step))


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("other", POOLS)
def test_only_the_same_pool_understands(name: str, other: str) -> None:
    one, two = POOLS[name], POOLS[other]
    sealed = one.seal_packet(PING)
    assert len(sealed) == len(PING) + one.overhead
    if name == other:
        assert two.open_packet(sealed) == PING
        for step in (1, 2, 7, 1000):
            assert through(one, two, step) == PING
        return
    with pytest.raises(Rejected) as packet:
        two.open_packet(sealed)
    with pytest.raises(Rejected) as stream:
        through(one, two, 1)
    assert packet.value.reason == stream.value.reason
    labels = {"labelled": "dc1", "both": "dc1", "other key": "dc1", "other label": "dc2"}
    if labels.get(name) != labels.get(other):
        assert packet.value.reason == "wrong_label"
    elif two.keyring is None:
        assert packet.value.reason == "encrypted"
    else:
        assert packet.value.reason == "unauthenticated"


def test_the_golden_label() -> None:
    pool = POOLS["labelled"]
    assert pool.seal_packet(PING) == bytes.fromhex("f403646331") + PING
    assert pool.overhead == 5
    assert POOLS["both"].overhead == 5 + 29


def test_a_datagram_binds_the_label_and_a_stream_its_head_too() -> None:
    pool, keys = POOLS["both"], ring(A)
    assert keys.open(pool.seal_packet(PING)[5:], b"dc1") == PING
    framed = pool.seal_stream(PING)
    assert framed[:5] == b"\x0a" + (len(framed) - 5).to_bytes(4, "big")
    assert keys.open(framed[5:], framed[:5] + b"dc1") == PING


def test_answers_do_not_repeat_the_label_but_bind_it() -> None:
    pool = POOLS["both"]
    assert pool.opener(answers=True).feed(pool.seal_stream(PING)) == PING
    with pytest.raises(Rejected, match="labelled"):
        pool.opener(answers=True).feed(pool.head + pool.seal_stream(PING))
    with pytest.raises(Rejected, match="labelled"):
        pool.opener().feed(pool.seal_stream(PING))
    unlabelled = POOLS["keyed"].seal_stream(PING)
    with pytest.raises(Rejected, match="not encrypted with a key"):
        pool.opener(answers=True).feed(unlabelled)


def test_both_versions_of_the_encryption_are_opened() -> None:
    pool, keys = POOLS["both"], ring(A)
    assert pool.open_packet(pool.head + keys.seal(PING, b"dc1", PADDED)) == PING
    length = 1 + 12 + 32 + 16
    head = b"\x0a" + length.to_bytes(4, "big")
    framed = head + keys.seal(PING, head + b"dc1", PADDED)
    assert pool.opener(answers=True).feed(framed) == PING


def test_a_pool_that_begins_to_encrypt() -> None:
    plain = Sealing()
    listens = Sealing("", ring(A), verify_incoming=False, verify_outgoing=False)
    speaks = Sealing("", ring(A), verify_incoming=False)
    done = Sealing("", ring(A))
    for one, other in (
        (plain, listens),
        (listens, plain),
        (listens, speaks),
        (speaks, listens),
        (speaks, done),
        (done, speaks),
    ):
        assert other.open_packet(one.seal_packet(PING)) == PING
        assert through(one, other) == PING
    assert listens.overhead == 0
    assert speaks.overhead == 29
    for sender, receiver in ((listens, done), (done, plain)):
        with pytest.raises(Rejected):
            receiver.open_packet(sender.seal_packet(PING))
        with pytest.raises(Rejected):
            through(sender, receiver)


def test_frames_have_a_limit() -> None:
    pool = POOLS["keyed"]
    with pytest.raises(Invalid, match="limit is 20971520"):
        pool.opener().feed(b"\x0a" + (FRAME_MAX_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(Invalid, match="too large"):
        pool.seal_stream(bytes(FRAME_MAX_BYTES))


def test_a_label_has_a_limit() -> None:
    assert Sealing("x" * sealing.LABEL_MAX_BYTES).overhead == 257
    with pytest.raises(Invalid, match="label: longer than 255 bytes"):
        Sealing("x" * 256)


def test_what_follows_an_encrypted_message_is_left_alone() -> None:
    pool = POOLS["keyed"]
    opener = pool.opener()
    assert opener.feed(pool.seal_stream(PING) + b"more") == PING
    assert opener.feed(b"and more") == b""


@given(st.sampled_from([*POOLS.values()]), st.binary(max_size=80), st.integers(1, 90))
def test_any_bytes_raise_invalid_only(pool: Sealing, data: bytes, step: int) -> None:
    for start in (b"", pool.head, b"\x0a\x00\x00\x00"):
        whole = start + data
        with contextlib.suppress(Invalid):
            pool.open_packet(whole)
        opener = pool.opener()
        with contextlib.suppress(Invalid):
            for at in range(0, len(whole), step):
                opener.feed(whole[at : at + step])
