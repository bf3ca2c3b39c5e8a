"""Frames: messages come back, all else is Invalid."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.raft.messages import Append, Message, PreVote, Probe, pack_message, unpack_message

NUMBER = st.integers(0, 1 << 62)
MESSAGES: st.SearchStrategy[Message] = st.builds(
    Append,
    NUMBER,
    NUMBER,
    st.builds(Probe, NUMBER, st.floats(allow_nan=False)),
    NUMBER,
    NUMBER,
    NUMBER,
    st.lists(st.tuples(NUMBER, st.binary(max_size=20)), max_size=5),
) | st.builds(PreVote, NUMBER, NUMBER, NUMBER, NUMBER)


@given(MESSAGES)
def test_messages_come_back(message: Message) -> None:
    assert unpack_message(pack_message(message)) == message


@given(MESSAGES, st.integers(min_value=0), st.integers(0, 255))
def test_changed_messages_are_messages_or_invalid(message: Message, place: int, new: int) -> None:
    data = bytearray(pack_message(message))
    data[place % len(data)] = new
    with contextlib.suppress(Invalid):
        unpack_message(bytes(data))


@given(st.binary(max_size=100))
def test_any_bytes_are_a_message_or_invalid(data: bytes) -> None:
    with contextlib.suppress(Invalid):
        unpack_message(data)
