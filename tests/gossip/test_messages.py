"""Messages: the bytes of memberlist, and nothing but Invalid for others."""

import contextlib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.gossip import messages
from mesh.gossip.messages import Ack, Alive, Dead, Fault, IndirectPing, Message, Nack, Ping, Suspect

N1, N2 = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
GOLDEN: list[tuple[str, Message]] = [
    (
        "0085a44e6f6465a26e32a55365714e6fcd012caa536f7572636541646472a40a000001"
        "aa536f757263654e6f6465a26e31aa536f75726365506f7274cd1f0a",
        Ping(300, "n2", N1, 7946, "n1"),
    ),
    ("0082a44e6f6465a26e32a55365714e6f01", Ping(1, "n2")),
    (
        "0188a44e61636bc3a44e6f6465a26e32a4506f7274cd1f0aa55365714e6fcd012caa536f7572636541646472"
        "a40a000001aa536f757263654e6f6465a26e31aa536f75726365506f7274cd1f0aa6546172676574a40a000002",
        IndirectPing(300, N2, 7946, "n2", True, N1, 7946, "n1"),
    ),
    ("0282a75061796c6f6164c0a55365714e6fcd012c", Ack(300)),
    ("0b81a55365714e6fcd012c", Nack(300)),
    ("0d81a54572726f72a4626f6f6d", Fault("boom")),
    (
        "0383a446726f6da26e31ab496e6361726e6174696f6ece00011170a44e6f6465a26e32",
        Suspect(70000, "n2", "n1"),
    ),
    ("0583a446726f6da26e32ab496e6361726e6174696f6e03a44e6f6465a26e32", Dead(3, "n2", "n2")),
    (
        "0486a441646472a40a000001ab496e6361726e6174696f6e01a44d657461a2ff80"
        "a44e6f6465a26e31a4506f7274cd1f0aa356736ea6010502020504",
        Alive(1, "n1", N1, 7946, b"\xff\x80", bytes((1, 5, 2, 2, 5, 4))),
    ),
]


@pytest.mark.parametrize(("text", "message"), GOLDEN, ids=lambda one: type(one).__name__)
def test_the_bytes_are_memberlists(text: str, message: Message) -> None:
    assert messages.decode(bytes.fromhex(text)) == message
    assert messages.encode(message).hex() == text


def test_tags_are_serfs() -> None:
    assert messages.encode_tags({"role": "web"}).hex() == "ff81a4726f6c65a3776562"
    assert messages.decode_tags(bytes.fromhex("ff81a4726f6c65a3776562")) == {"role": "web"}
    assert messages.decode_tags(b"legacy") == {"role": "legacy"}
    with pytest.raises(Invalid, match="limit is 512"):
        messages.encode_tags({"x": "y" * 512})


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"Vsn": b""}, "Vsn"),
        ({"Vsn": bytes((3, 1, 2, 2, 5, 5))}, "Vsn"),
        ({"Vsn": bytes((0, 5, 2, 2, 5, 5))}, "Vsn"),
        ({"Vsn": bytes((1, 5, 2, 2, 5, 5, 1))}, "Vsn"),
        ({"Addr": b"\x01"}, "Addr"),
        ({"Node": ""}, "Node"),
        ({"Node": "x" * 129}, "Node"),
        ({"Meta": b"x" * 513}, "Meta"),
        ({"Incarnation": 2**32}, "Incarnation"),
        ({"Incarnation": -1}, "Incarnation"),
        ({"Port": 65536}, "Port"),
    ],
)
def test_out_of_limits_names_the_field(fields: dict[str, object], problem: str) -> None:
    good: dict[str, object] = {
        "Addr": N1,
        "Incarnation": 1,
        "Meta": b"m",
        "Node": "n",
        "Port": 1,
        "Vsn": messages.VERSIONS,
    }
    with pytest.raises(Invalid, match=problem):
        messages.decode(bytes((messages.ALIVE,)) + messages.pack_map(good | fields))


def test_what_could_not_be_passed_on_is_refused() -> None:
    long = "x" * 129
    for message in (Suspect(1, "n", long), Dead(1, "n", long), Ping(1, long)):
        with pytest.raises(Invalid, match="128 bytes"):
            messages.decode(messages.encode(message))
    with pytest.raises(Invalid, match="Node"):
        messages.decode(messages.encode(IndirectPing(1, N1, 1, long)))
    with pytest.raises(Invalid, match="SourceNode"):
        messages.decode(messages.encode(Ping(1, source_node=long)))
    for addressed in (Ping(1, source_address=b"abc"), IndirectPing(1, b"12345")):
        with pytest.raises(Invalid, match="4 or 16 bytes"):
            messages.decode(messages.encode(addressed))


def test_keys_that_could_be_made_to_collide_are_refused() -> None:
    with pytest.raises(Invalid, match="not a msgpack map"):
        messages.decode(b"\x00\x81\x05\x01")


def test_arrays_within_arrays_get_no_room_before_they_have_come() -> None:
    deep = b"\x81\xa1x" + b"\xdd\x00\x01\xff\xff" * 1000
    tracemalloc.start()
    try:
        with pytest.raises(Invalid):
            messages.decode(b"\x00" + deep + bytes(60_000))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", ["true", "1.0", "'1'", "[1]"])
def test_what_is_no_number_is_not_taken_for_one(text: str) -> None:
    packed = {
        "true": b"\xc3",
        "1.0": b"\xcb\x3f\xf0" + bytes(6),
        "'1'": b"\xa11",
        "[1]": b"\x91\x01",
    }
    with pytest.raises(Invalid, match="SeqNo"):
        messages.decode(b"\x00\x81\xa5SeqNo" + packed[text])


def test_nil_and_missing_are_empty_and_unknown_keys_are_ignored() -> None:
    assert messages.decode(b"\x00\x80") == Ping(0)
    assert messages.decode(b"\x02\x82\xa5SeqNo\xc0\xa3New\x93\x01\x02\x03") == Ack(0)
    assert messages.decode_tags(b"\xff\x82\xa1a\xc0\xa1b\xa1x") == {"a": "", "b": "x"}


def test_long_strings_are_raw16_never_str8_or_bin() -> None:
    name, meta = "n" * 40, b"m" * 40
    packet = messages.encode(Alive(1, name, N1, 1, meta))
    assert b"\xda\x00\x28nnn" in packet
    assert b"\xda\x00\x28mmm" in packet
    assert messages.decode(b"\x02\x81\xa7Payload\xd9\x02ab") == Ack(0, b"ab")
    assert messages.decode(b"\x02\x81\xa7Payload\xc4\x02ab") == Ack(0, b"ab")


def test_an_address_of_sixteen_bytes_may_be_ipv4() -> None:
    assert messages.host(N1) == "10.0.0.1"
    assert messages.host(bytes(10) + b"\xff\xff" + N1) == "10.0.0.1"
    assert messages.host(bytes(15) + b"\x01") == "::1"


NAMES = st.binary(min_size=1, max_size=100).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
U32, PORTS = st.integers(0, 2**32 - 1), st.integers(0, 65535)
ADDRESSES = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
SOURCES = (ADDRESSES, PORTS, NAMES)
ANY: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ping, U32, NAMES, *SOURCES),
    st.builds(IndirectPing, U32, ADDRESSES, PORTS, NAMES, st.booleans(), *SOURCES),
    st.builds(Ack, U32, st.binary(max_size=100)),
    st.builds(Nack, U32),
    st.builds(Suspect, U32, NAMES, NAMES),
    st.builds(Dead, U32, NAMES, NAMES),
    st.builds(Alive, U32, NAMES, ADDRESSES, PORTS, st.binary(max_size=512)),
    st.builds(messages.User, st.binary(max_size=100)),
)


@given(ANY)
def test_what_is_encoded_is_decoded(message: Message) -> None:
    assert messages.decode(messages.encode(message)) == message


def test_names_may_hold_any_bytes() -> None:
    name = b"\xff\xfen".decode("utf-8", "surrogateescape")
    assert messages.decode(messages.encode(Dead(1, name, name))) == Dead(1, name, name)


@given(st.binary(max_size=300))
def test_any_bytes_raise_invalid_only(data: bytes) -> None:
    with contextlib.suppress(Invalid):
        messages.decode(data)
    messages.decode_tags(data)


@given(st.sampled_from([bytes.fromhex(text) for text, _ in GOLDEN]), st.data())
def test_a_changed_byte_raises_invalid_only(packet: bytes, data: st.DataObject) -> None:
    changed = bytearray(packet)
    changed[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Invalid):
        messages.decode(bytes(changed))
