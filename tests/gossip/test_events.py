"""User events: Serf's bytes, each heard once, old ones not at all, and all bounded."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Invalid, TooLarge
from mesh.gossip.bodies import decode_state, encode_state
from mesh.gossip.broadcasts import Broadcasts
from mesh.gossip.events import EVENT_MAX_BYTES, Events, UserEvent, decode, encode
from mesh.gossip.lamport import TIME_MAX
from mesh.gossip.messages import pack_map

GOLDEN = bytes.fromhex("0384a24343c3a54c54696d6505a44e616d65a66465706c6f79a75061796c6f6164a27631")
STATE = bytes.fromhex(
    "0286aa4576656e744c54696d6502a64576656e747392c082a64576656e74739182a44e616d65a165a75061796c6f61"
    "64a170a54c54696d6501a54c54696d6509ab4c6566744d656d6265727391a26e33aa51756572794c54696d6501ac53"
    "74617475734c54696d657381a26e3101"
)


def node(limit: int = 512) -> Events:
    return Events(Broadcasts(4, len), limit)


def said(events: Events) -> list[bytes]:
    return events.queue.draw(10_000, 0, 1)


def test_the_bytes_are_serfs() -> None:
    event = UserEvent(5, "deploy", b"v1", coalesce=True)
    assert encode(event) == GOLDEN
    assert decode(GOLDEN) == event


def test_an_event_from_here_is_heard_here_and_said_with_the_time_before_it() -> None:
    events = node()
    assert events.fire("deploy", b"v1") == 1
    assert events.fire("deploy", b"v1") == 2
    assert events.take() == [UserEvent(1, "deploy", b"v1"), UserEvent(2, "deploy", b"v1")]
    assert events.take() == []
    assert {decode(body).time for body in said(events)} == {1, 2}


def test_an_event_of_others_is_heard_once_and_passed_on_as_it_came() -> None:
    events = node()
    # A later version may say more than this one knows.
    fields = {"CC": True, "LTime": 5, "Name": "deploy", "New": "x", "Payload": b"v1"}
    body = b"\x03" + pack_map(fields)
    events.receive(body)
    assert events.take() == [UserEvent(5, "deploy", b"v1", coalesce=True)]
    assert said(events) == [body]
    events.receive(body)
    events.receive(GOLDEN)
    assert events.take() == []
    assert said(events) == [body]
    # Another event at the same time is another event.
    for other in (UserEvent(5, "deploy", b"v2"), UserEvent(5, "other", b"v1")):
        events.receive(encode(other))
        assert events.take() == [other]
    assert events.fire("next", b"") == 6


def test_what_is_too_old_is_not_heard() -> None:
    events = node()
    events.receive(encode(UserEvent(1000, "now", b"")))
    events.receive(encode(UserEvent(489, "old", b"")))
    events.receive(encode(UserEvent(488, "too old", b"")))
    assert [event.name for event in events.take()] == ["now", "old"]
    events.ignore_before(500)
    events.receive(encode(UserEvent(499, "before", b"")))
    events.receive(encode(UserEvent(500, "after", b"")))
    assert [event.name for event in events.take()] == ["after"]


def test_the_limit_counts_name_and_payload_and_what_is_sent() -> None:
    events = node()
    with pytest.raises(TooLarge, match="name and payload take 513 bytes; the limit is 512"):
        events.fire("x", b"p" * 512)
    with pytest.raises(TooLarge, match="the encoded event take"):
        events.fire("x", b"p" * 500)
    assert events.fire("x", b"p" * 470) == 1
    assert node(EVENT_MAX_BYTES).fire("x", b"p" * 9000) == 1
    with pytest.raises(Invalid, match="name of an event is missing"):
        events.fire("", b"")
    with pytest.raises(Invalid, match="limit is 9216"):
        events.receive(encode(UserEvent(1, "x", b"p" * 9300)))


def test_who_joins_hears_the_last_events() -> None:
    one, two = node(), node()
    for number in range(600):
        one.fire("e", b"%d" % number)
    fields = decode_state(encode_state(one.fields()))
    assert len(fields[b"Events"]) == 512
    two.merge(fields)
    assert sorted(event.time for event in two.take()) == list(range(89, 601))
    assert said(two) == []
    two.merge(fields)
    assert two.take() == []
    assert two.fire("next", b"") == 601


def test_who_joins_may_ignore_what_was_before() -> None:
    one, two = node(), node()
    one.fire("before", b"")
    two.merge(decode_state(encode_state(one.fields())), ignore_old=True)
    assert two.take() == []
    one.fire("after", b"")
    two.merge(decode_state(encode_state(one.fields())))
    assert [event.name for event in two.take()] == ["after"]


def test_serfs_state_is_read() -> None:
    events = node()
    events.merge(decode_state(STATE))
    assert events.take() == [UserEvent(1, "e", b"p")]
    assert events.fields()["EventLTime"] == 2
    assert events.fields()["Events"][:2] == [
        None,
        {"Events": [{"Name": "e", "Payload": b"p"}], "LTime": 1},
    ]


def test_any_number_of_events_at_one_time_takes_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mesh.gossip.lamport.RING_MAX_BYTES", 10_000)
    events = node()
    heard = []
    for number in range(1000):
        events.receive(encode(UserEvent(7 + number // 500, "e", b"%d" % number)))
        heard += events.take()
    assert 100 < len(heard) < 1000
    # What was forgotten is not heard a second time.
    for number in range(1000):
        events.receive(encode(UserEvent(7 + number // 500, "e", b"%d" % number)))
    assert not set(events.take()) & set(heard)


def test_the_largest_time_does_no_harm() -> None:
    events = node()
    events.receive(encode(UserEvent(TIME_MAX, "e", b"")))
    assert events.fire("x", b"") == TIME_MAX
    decode_state(encode_state(events.fields()))


@given(st.binary(max_size=200))
def test_any_bytes_raise_invalid_only(data: bytes) -> None:
    events = node()
    with contextlib.suppress(Invalid):
        events.receive(b"\x03" + data)
    with contextlib.suppress(Invalid):
        events.merge(decode_state(b"\x02" + data))


@given(st.data(), st.sampled_from([GOLDEN, STATE]))
def test_changed_bytes_raise_invalid_only(data: st.DataObject, whole: bytes) -> None:
    changed, events = bytearray(whole), node()
    changed[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Invalid):
        events.receive(bytes(changed))
    with contextlib.suppress(Invalid):
        events.merge(decode_state(bytes(changed)))
    encode_state(events.fields())
