"""Every message that Go wrote is read, and what we write of it is the same, byte for byte."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest

from mesh.gossip import bodies, conflict, events, packets, rotation, vivaldi
from mesh.gossip.bodies import NodesFilter, QueryBody, Response, TagFilter
from mesh.gossip.events import UserEvent
from mesh.gossip.keyring import PADDED, PLAIN, Keyring
from mesh.gossip.members import Member, Status
from mesh.gossip.messages import (
    Ack,
    Alive,
    Dead,
    Fault,
    IndirectPing,
    Message,
    Nack,
    Ping,
    Suspect,
    User,
    decode,
    decode_tags,
    encode,
    encode_tags,
    pack_map,
    unpack_map,
)
from mesh.gossip.rotation import KeyResult
from mesh.gossip.sealing import Sealing
from mesh.gossip.streams import LEFT, NodeState, PushPull, StreamReader, encode_stream
from mesh.gossip.vivaldi import Coordinate

N1, N2 = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
VSN = bytes((1, 5, 2, 2, 5, 4))
PING = (
    "0085a44e6f6465a26e32a55365714e6fcd012caa536f7572636541646472a40a000001"
    "aa536f757263654e6f6465a26e31aa536f75726365506f7274cd1f0a"
)
ALIVE = (
    "0486a441646472a40a000001ab496e6361726e6174696f6e01a44d657461{meta}"
    "a44e6f6465a26e31a4506f7274cd1f0aa356736ea6010502020504"
)
MESSAGES: dict[str, tuple[str, Message]] = {
    "ping with source": (PING, Ping(300, "n2", N1, 7946, "n1")),
    "ping": ("0082a44e6f6465a26e32a55365714e6f01", Ping(1, "n2")),
    "indirect ping": (
        "0188a44e61636bc3a44e6f6465a26e32a4506f7274cd1f0aa55365714e6fcd012caa536f7572636541646472"
        "a40a000001aa536f757263654e6f6465a26e31aa536f75726365506f7274cd1f0aa6546172676574a40a000002",
        IndirectPing(300, N2, 7946, "n2", True, N1, 7946, "n1"),
    ),
    "ack": ("0282a75061796c6f6164c0a55365714e6fcd012c", Ack(300)),
    "nack": ("0b81a55365714e6fcd012c", Nack(300)),
    "error": ("0d81a54572726f72a4626f6f6d", Fault("boom")),
    "suspect": (
        "0383a446726f6da26e31ab496e6361726e6174696f6ece00011170a44e6f6465a26e32",
        Suspect(70000, "n2", "n1"),
    ),
    "dead": ("0583a446726f6da26e32ab496e6361726e6174696f6e03a44e6f6465a26e32", Dead(3, "n2", "n2")),
    "alive": (ALIVE.format(meta="a2ff80"), Alive(1, "n1", N1, 7946, b"\xff\x80", VSN)),
    "alive without meta": (ALIVE.format(meta="c0"), Alive(1, "n1", N1, 7946, b"", VSN)),
    "user": ("080102", User(b"\x01\x02")),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_t24_messages(name: str) -> None:
    data, message = MESSAGES[name]
    assert decode(bytes.fromhex(data)) == message
    assert encode(message).hex() == data


NODE = (
    "87a441646472a40a000001ab496e6361726e6174696f6e01a44d657461c0a44e616d65a26e31"
    "a4506f7274cd1f0aa5537461746503a356736ea6010502020504"
)
HEAD = "0683a44a6f696ec3a54e6f646573d100c8ac5573657253746174654c656e03"


def test_t24_streams() -> None:
    data = HEAD + NODE * 200 + "616263"
    state = PushPull([NodeState("n1", N1, 7946, 1, LEFT, b"", VSN)] * 200, b"abc", join=True)
    assert StreamReader().feed(bytes.fromhex(data)) == state
    assert encode_stream(state).hex() == data
    user = "0881aa557365724d73674c656e05" + b"hello".hex()
    assert StreamReader().feed(bytes.fromhex(user)) == User(b"hello")
    assert encode_stream(User(b"hello")).hex() == user


def test_t24_wrappers() -> None:
    ping = bytes.fromhex(PING)
    compound = bytes.fromhex("0702003f0003") + ping + bytes.fromhex("080102")
    messages = [MESSAGES["ping with source"][1], MESSAGES["user"][1]]
    assert packets.split(compound) == (messages, [])
    assert packets.join([encode(one) for one in messages], crc=False) == compound
    labelled = bytes.fromhex("f403646331") + ping
    assert Sealing("dc1").open_packet(labelled) == ping
    assert Sealing("dc1").seal_packet(ping) == labelled
    packed = bytes.fromhex(
        "0982a4416c676f00a3427566be00c3881943462041830507263ca810a1c38610194a5c48f1e1448b640202"
    )
    assert packets.unpack(unpack_map(packed[1:]), 80) == b"abcd" * 20
    assert packets.pack(b"abcd" * 20) == packed


@pytest.mark.parametrize("version", [PADDED, PLAIN])
@pytest.mark.parametrize("size", [16, 24, 32])
def test_t24_encryption_there_and_back(version: int, size: int) -> None:
    # No vector was written by Go, as its nonces are random; serf itself is asked in T13.
    keys = Keyring([bytes(range(size))], lambda: bytes(range(12)))
    for data, _ in MESSAGES.values():
        plain = bytes.fromhex(data)
        sealed = keys.seal(plain, b"dc1", version)
        assert sealed == keys.seal(plain, b"dc1", version)
        assert sealed[:13] == bytes((version, *range(12)))
        assert (len(sealed) - 13 - 16) % 16 == 0 or version == PLAIN
        assert keys.open(sealed, b"dc1") == plain


QUERY = (
    "048ba441646472a40a000001a746696c74657273{filters}a5466c61677301a24944ce7fffffffa54c54696d6503"
    "a44e616d65a171a75061796c6f6164a178a4506f7274cd1f0aab52656c6179466163746f7202"
    "aa536f757263654e6f6465a26e31a754696d656f7574d3000000037e11d600"
)
FILTERS = "92a60092a161a162b40182a445787072a3776562a3546167a4726f6c65"
NO_FILTERS = "c0"
RESPONSE = "0585a5466c61677300a446726f6da26e31a2494407a54c54696d6503a75061796c6f6164a26f6b"
ACK = "0585a5466c61677301a446726f6da26e31a2494407a54c54696d6503a75061796c6f6164c0"
RELAY = (
    "0982a8446573744164647283a24950a40a000001a4506f7274d11f0aa45a6f6e65a0a8446573744e616d65a26e31"
)
COORDINATE = (
    "0184aa41646a7573746d656e74cb0000000000000000a54572726f72cb3ff8000000000000"
    "a6486569676874cb3ee4f8b588e368f1a356656398" + "cb0000000000000000" * 8
)


def query(*filters: NodesFilter | TagFilter) -> QueryBody:
    return QueryBody(
        time=3,
        id=0x7FFFFFFF,
        address=N1,
        port=7946,
        source="n1",
        name="q",
        payload=b"x",
        filters=[*filters],
        flags=1,
        relay_factor=2,
        timeout_ns=15_000_000_000,
    )


def codec(decoder: Callable[[bytes], object], encoder: Callable[..., bytes]) -> tuple[object, ...]:
    return decoder, encoder


SERF: dict[str, tuple[str, object, tuple[object, ...]]] = {
    "event": (
        "0384a24343c3a54c54696d6505a44e616d65a66465706c6f79a75061796c6f6164a27631",
        UserEvent(5, "deploy", b"v1", coalesce=True),
        codec(events.decode, events.encode),
    ),
    "query": (
        QUERY.format(filters=FILTERS),
        query(NodesFilter(["a", "b"]), TagFilter("role", "web")),
        codec(bodies.decode_query, bodies.encode_query),
    ),
    "query without filters": (
        QUERY.format(filters=NO_FILTERS),
        query(),
        codec(bodies.decode_query, bodies.encode_query),
    ),
    "response": (
        RESPONSE,
        Response(3, 7, "n1", b"ok"),
        codec(bodies.decode_response, bodies.encode_response),
    ),
    "response that acknowledges": (
        ACK,
        Response(3, 7, "n1", flags=1),
        codec(bodies.decode_response, bodies.encode_response),
    ),
    "key request": (
        "0781a34b6579b0" + bytes(range(16)).hex(),
        bytes(range(16)),
        codec(rotation.decode_request, rotation.encode_request),
    ),
    "empty key request": (
        "0781a34b6579a0",
        b"",
        codec(rotation.decode_request, rotation.encode_request),
    ),
    "key response": (
        "0884a44b65797391a461325635a74d657373616765a0aa5072696d6172794b6579a461325635"
        "a6526573756c74c3",
        KeyResult(ok=True, keys=("a2V5",), primary="a2V5"),
        codec(rotation.decode_result, rotation.encode_result),
    ),
    "tags": ("ff81a4726f6c65a3776562", {"role": "web"}, codec(decode_tags, encode_tags)),
    "coordinate": (
        COORDINATE,
        Coordinate((0.0,) * 8, 1.5, 0.0, 1e-5),
        codec(vivaldi.decode, vivaldi.encode),
    ),
}


@pytest.mark.parametrize("name", SERF)
def test_t24_messages_of_serf(name: str) -> None:
    data, message, (decoder, encoder) = SERF[name]
    assert decoder(bytes.fromhex(data)) == message  # type: ignore[operator]
    assert encoder(message).hex() == data  # type: ignore[operator]


def test_t24_a_relay() -> None:
    data = bytes.fromhex(RELAY + RESPONSE)
    relay = bodies.decode_relay(data)
    assert (relay.address, relay.port, relay.node) == ("10.0.0.1", 7946, "n1")
    assert relay.body == bytes.fromhex(RESPONSE)
    address = ipaddress.ip_address(relay.address).packed
    assert bodies.encode_relay(address, relay.port, relay.node, relay.body) == data


def test_t24_an_answer_about_a_name() -> None:
    data = (
        "068ba441646472a40a000001ab44656c656761746543757205ab44656c65676174654d617805"
        "ab44656c65676174654d696e02a44e616d65a26e31a4506f7274cd1f0aab50726f746f636f6c43757202"
        "ab50726f746f636f6c4d617805ab50726f746f636f6c4d696e01a653746174757301a45461677381a161a162"
    )
    member = Member("n1", "10.0.0.1", 7946, {"a": "b"}, Status.ALIVE, 1)
    assert conflict.encode(member).hex() == data
    assert conflict.decode(bytes.fromhex(data)) == ("10.0.0.1", 7946)
    assert conflict.encode(None).hex() == "06c0"
    assert conflict.decode(bytes.fromhex("06c0")) is None


INTENTS = {
    "leave": "0083a54c54696d65cd012ca44e6f6465a26e31a55072756e65c2",
    "join": "0182a54c54696d6502a44e6f6465a26e31",
    "state": (
        "0286aa4576656e744c54696d6502a64576656e747392c082a64576656e74739182a44e616d65a165"
        "a75061796c6f6164a170a54c54696d6501a54c54696d6509ab4c6566744d656d6265727391a26e33"
        "aa51756572794c54696d6501ac5374617475734c54696d657381a26e3101"
    ),
}


@pytest.mark.parametrize("name", INTENTS)
def test_t24_intents_and_state_of_serf(name: str) -> None:
    data = bytes.fromhex(INTENTS[name])
    fields = {key.decode(): value for key, value in unpack_map(data[1:]).items()}
    assert data[:1] + pack_map(fields) == data
