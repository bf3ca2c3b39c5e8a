"""Frames: every message survives the trip, and bad bytes raise Invalid only."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.codec import pack
from mesh.errors import Invalid
from mesh.registry import catalog, health, kv, orders
from mesh.registry.port import HERE, ReadOptions, ServerStatus, WriteOptions
from mesh.rpc import wire

REQUESTS: list[wire.Request] = [
    wire.Hello(1, "n1", "dc1"),
    wire.Read(1, health.Instances("web"), ReadOptions(index=7, wait=2.5)),
    wire.Read(2, catalog.Services((("rack", "a"),)), ReadOptions(), forwarded=True),
    wire.Write(3, kv.Set("a", b"\x00\xff", check_index=0), WriteOptions(request="r")),
    wire.Watch(4, kv.Under("a/"), ReadOptions(consistency="stale")),
    wire.Operate(6, orders.RemovePeer(address="10.0.0.1:8300"), HERE, forwarded=True),
    wire.AskStatus(5),
    wire.Cancel(4),
]
REPLIES: list[wire.Reply] = [
    wire.Answered(1, msgspec.Raw(pack([1, "x"])), 9, True, 0.5),
    wire.Wrote(3, msgspec.Raw(pack(True))),
    wire.Status(5, ServerStatus("127.0.0.1:8300", ["127.0.0.1:8300"])),
    wire.Failed(1, "no-leader", "No cluster leader"),
]


@given(st.integers(1, 50))
def test_messages_survive_the_trip_however_the_stream_is_cut(size: int) -> None:
    stream = b"".join(wire.frame(message) for message in REQUESTS)
    frames = wire.Frames(wire.REQUEST_MAX_BYTES)
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    bodies = [body for piece in pieces for body in frames.feed(piece)]
    assert [wire.request(body) for body in bodies] == REQUESTS


@pytest.mark.parametrize("message", REPLIES, ids=lambda message: type(message).__name__)
def test_replies_survive_the_trip(message: wire.Reply) -> None:
    (body,) = wire.Frames(wire.REPLY_MAX_BYTES).feed(wire.frame(message))
    assert pack(wire.reply(body)) == pack(message)


def test_a_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(Invalid, match="limit is 10"):
        list(wire.Frames(10).feed(b"\x00\x00\x00\x0b"))


@given(st.binary(max_size=200) | st.sampled_from([wire.frame(one)[4:] for one in REQUESTS]))
def test_bad_bytes_raise_invalid_only(data: bytes) -> None:
    for cut in range(0, len(data), 7):
        with contextlib.suppress(Invalid):
            wire.request(data[cut:])
        with contextlib.suppress(Invalid):
            wire.reply(data[: len(data) - cut])
