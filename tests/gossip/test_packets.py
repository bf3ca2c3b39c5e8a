"""Datagrams: compound, compressed and checked, in any nesting that is allowed."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.gossip import packets
from mesh.gossip.messages import Nack, Ping, User, encode
from tests.gossip.test_messages import GOLDEN

PING = bytes.fromhex(GOLDEN[0][0])


def test_the_golden_compound() -> None:
    packet = bytes.fromhex("0702003f0003") + PING + bytes.fromhex("080102")
    assert packets.split(packet) == ([GOLDEN[0][1], User(b"\x01\x02")], [])
    assert packets.join([PING, b"\x08\x01\x02"], crc=False) == packet


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
    assert packets.unpack(packet[1:], 100) == b"abcd" * 20
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
