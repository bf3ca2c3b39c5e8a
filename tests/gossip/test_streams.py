"""Streams: push/pull, ping and user messages, however the bytes arrive."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.gossip import streams
from mesh.gossip.messages import Ack, Fault, Ping, User, encode
from mesh.gossip.packets import pack
from mesh.gossip.streams import (
    LEFT,
    NodeState,
    PushPull,
    StreamReader,
    encode_push_pull,
    encode_stream,
)
from tests.gossip.test_messages import N1

# From HEAD's Go code, where Nodes is a signed int16; here it is said to be one node.
NODE = (
    "87a441646472a40a000001ab496e6361726e6174696f6e01a44d657461c0a44e616d65a26e31"
    "a4506f7274cd1f0aa5537461746503a356736ea6010502020504"
)
GOLDEN = bytes.fromhex(f"0683a44a6f696ec3a54e6f64657301ac5573657253746174654c656e03{NODE}616263")
LEFT_NODE = NodeState("n1", N1, 7946, 1, LEFT, b"", bytes((1, 5, 2, 2, 5, 4)))
NAMES = st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
NODES = st.builds(
    NodeState,
    NAMES,
    st.binary(max_size=16),
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1),
    st.integers(0, 3),
    st.binary(max_size=600),
    st.binary(max_size=8),
)
STATES = st.builds(PushPull, st.lists(NODES, max_size=5), st.binary(max_size=300), st.booleans())


def read(data: bytes, step: int = 1_000_000) -> object:
    reader = StreamReader()
    for start in range(0, len(data), step):
        message = reader.feed(data[start : start + step])
        if message is not None:
            return message
    return None


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_the_golden_push_pull(step: int) -> None:
    state = PushPull([LEFT_NODE], b"abc", True)
    assert read(GOLDEN, step) == state
    assert encode_push_pull(state) == GOLDEN


def test_a_signed_count_of_nodes_is_read() -> None:
    head = bytes.fromhex("0683a44a6f696ec3a54e6f646573d100c8ac5573657253746174654c656e03")
    message = read(head + bytes.fromhex(NODE) * 200 + b"abc")
    assert isinstance(message, PushPull)
    assert list(message.nodes) == [LEFT_NODE] * 200
    assert read(head + bytes.fromhex(NODE) * 199) is None


def test_the_golden_user_message() -> None:
    data = bytes.fromhex("0881aa557365724d73674c656e05") + b"hello"
    assert read(data, 3) == User(b"hello")
    assert encode_stream(User(b"hello")) == data


@pytest.mark.parametrize("message", [Ping(1, "n"), Ack(300), Fault("boom"), User(b"hello")])
def test_small_messages(message: Ping | Ack | Fault | User) -> None:
    assert read(encode_stream(message), 2) == message


@given(STATES, st.integers(1, 400))
def test_what_is_encoded_is_read(state: PushPull, step: int) -> None:
    assert read(encode_push_pull(state), step) == state


def test_compressed_streams_are_read() -> None:
    assert read(pack(GOLDEN), 9) == PushPull([LEFT_NODE], b"abc", True)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x0a\x00", "type 10"),
        (b"\xf4\x03dc1", "type 244"),
        (b"\x06\x81\x05\x00", "not msgpack"),
        (b"\x07\x00", "type 7"),
        (b"\x06\x93\x00\x00\x00", "other than a map"),
        (b"\x06\x81\xa5Nodes\xce\x00\x10\x00\x01", "Nodes"),
        (b"\x06\x81\xacUserStateLen\xce\x01\x40\x00\x01", "UserStateLen"),
        (b"\x08\x81\xaaUserMsgLen\xce\x01\x40\x00\x01", "UserMsgLen"),
        (b"\x06\x81\xa5Nodes\xff", "Nodes"),
        # An array that says it is huge must not be given room before it has come.
        (b"\x06\x81\xa1x\xdd\x02\x00\x00\x00", "not msgpack"),
        (pack(GOLDEN[:-1]), "ends within"),
        (pack(pack(GOLDEN)), "within compressed"),
        (pack(b""), "empty"),
    ],
)
def test_what_is_out_of_limits_is_refused_at_once(data: bytes, problem: str) -> None:
    with pytest.raises(Invalid, match=problem):
        read(data)


def test_too_many_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STREAM_MAX_BYTES", 100)
    with pytest.raises(Invalid, match="more than 100 bytes"):
        read(b"\x08\x81\xaaUserMsgLen\xcd\x00\xc8" + b"x" * 200, 10)


@given(st.integers(0, 13), st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_raise_invalid_only(kind: int, data: bytes, step: int) -> None:
    with contextlib.suppress(Invalid):
        read(bytes((kind,)) + data, step)


@given(st.data(), st.sampled_from([GOLDEN, pack(GOLDEN), encode(Ping(1, "n"))]))
def test_changed_bytes_raise_invalid_only(data: st.DataObject, whole: bytes) -> None:
    changed = bytearray(whole)
    for _ in range(3):
        place = data.draw(st.integers(0, len(whole) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Invalid):
        read(bytes(changed), data.draw(st.integers(1, 60)))
