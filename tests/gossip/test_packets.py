"""Datagrams: compound, compressed and checked, in any nesting that is allowed."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.gossip import packets
from mesh.gossip.messages import Message, Nack, Ping, User, encode, unpack_map
from tests.gossip.test_messages import ANY, GOLDEN

PING = bytes.fromhex(GOLDEN[0][0])


def test_the_golden_compound() -> None:
    packet = bytes.fromhex("0702003f0003") + PING + bytes.fromhex("080102")
    assert packets.split(packet) == ([GOLDEN[0][1], User(b"\x01\x02")], [])
    assert packets.join([PING, b"\x08\x01\x02"], crc=False) == packet


@given(st.sampled_from([message for _, message in GOLDEN]))
def test_sizes_and_kept_bytes_are_those_that_are_sent(message: Message) -> None:
    for _ in range(2):
        assert packets.encoded(message) == encode(message)
        assert packets.size(message) == len(encode(message))


def test_a_checksum_is_made_and_checked() -> None:
    packet = packets.join([PING], crc=True)
    assert packets.split(packet) == ([GOLDEN[0][1]], [])
    messages, problems = packets.split(packet[:-1] + b"\x00")
    assert (messages, len(problems)) == ([], 1)


def test_a_compressed_message_is_unpacked() -> None:
    # "abcd" twenty times, from the golden vectors: no message, but it must unpack.
    packet = bytes.fromhex(
        "0982a4416c676f00a3427566be00c3881943462041830507263ca810a1c38610194a5c48f1e1448b640202"
    )
    assert packets.unpack(unpack_map(packet[1:]), 100) == b"abcd" * 20
    assert packets.pack(b"abcd" * 20) == packet
    _, problems = packets.split(packet)
    assert "type 97" in problems[0].message


def test_what_is_cut_short_keeps_what_fits() -> None:
    packet = packets.join([encode(Nack(1)), encode(Nack(2))], crc=False)
    messages, problems = packets.split(packet[:-1])
    assert (messages, len(problems)) == ([Nack(1)], 1)


def test_a_bad_part_does_not_spoil_the_others() -> None:
    packet = packets.join([encode(Nack(1)), b"\xee", encode(Ping(2, "n"))], crc=False)
    messages, problems = packets.split(packet)
    assert (messages, len(problems)) == ([Nack(1), Ping(2, "n")], 1)


def test_messages_compressed_together_are_taken_apart() -> None:
    inner = packets.join([encode(Nack(1)), packets.pack(encode(Nack(2)))], crc=False)
    assert packets.split(packets.join([packets.pack(inner)], crc=True)) == ([Nack(1), Nack(2)], [])


def test_all_that_a_datagram_unpacks_to_has_one_limit() -> None:
    # Each part is small and unpacks to much; only the first two are unpacked.
    part = packets.pack(b"\x08" + bytes(packets.UNPACKED_MAX_BYTES // 2 - 1))
    assert len(part) < 1000
    messages, problems = packets.split(packets.join([part] * 20, crc=False))
    assert (len(messages), len(problems)) == (2, 18)


def test_a_checksum_within_a_compound_is_no_message() -> None:
    messages, problems = packets.split(
        packets.join([packets.join([PING], crc=True), PING], crc=False)
    )
    assert (len(messages), len(problems)) == (1, 1)


def test_an_empty_datagram_is_a_problem() -> None:
    messages, problems = packets.split(b"")
    assert (messages, len(problems)) == ([], 1)


@given(st.lists(ANY, min_size=1, max_size=20), st.booleans(), st.booleans())
def test_what_is_joined_is_split(messages: list[Message], crc: bool, compress: bool) -> None:
    parts = [encode(message) for message in messages]
    packet = packets.join(parts, crc=crc, compress=compress)
    assert len(packet) <= len(packets.join(parts, crc=crc))
    assert packets.split(packet) == (messages, [])


def test_the_messages_of_a_datagram_have_a_limit() -> None:
    # Two bytes a part, and these compress well.
    compound = b"\x07\xff" + bytes(2 * 255)
    whole = b"\x07\xff" + len(compound).to_bytes(2, "big") * 255 + compound * 255
    packet = packets.pack(whole[: packets.UNPACKED_MAX_BYTES])
    assert len(packet) < 2000
    messages, problems = packets.split(packet)
    assert messages == []
    assert len(problems) < 2 * packets.MESSAGES_MAX


def test_nesting_has_a_limit() -> None:
    packet = encode(Nack(1))
    for _ in range(9):
        packet = packets.join([packet, packet], crc=False)
    messages, problems = packets.split(packet)
    assert messages == []
    assert problems


@given(st.binary(max_size=400))
def test_any_bytes_are_taken_apart_without_harm(data: bytes) -> None:
    packets.split(data)
    for kind in (7, 9, 12):
        packets.split(bytes((kind,)) + data)
