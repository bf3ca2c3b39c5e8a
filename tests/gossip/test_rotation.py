"""Orders about keys: Serf's bytes, what is refused, and answers that fit."""

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Conflict, Invalid, TooLarge
from mesh.gossip.rotation import (
    INSTALL,
    LIST,
    NOT_ENCRYPTED,
    REMOVE,
    USE,
    KeyResult,
    carry_out,
    decode_request,
    decode_result,
    encode_request,
    encode_result,
    send_what_fits,
)

KEY = bytes(range(16))
REQUEST = bytes.fromhex("0781a34b6579b0") + KEY
EMPTY_REQUEST = bytes.fromhex("0781a34b6579a0")
RESPONSE = bytes.fromhex(
    "0884a44b65797391a461325635a74d657373616765a0aa5072696d6172794b6579a461325635a6526573756c74c3"
)


class Ring:
    """Keys without encryption, by the rules that orders rely on."""

    def __init__(self, *keys: bytes) -> None:
        self.keys = [*keys]

    @property
    def primary(self) -> bytes:
        return self.keys[0]

    def list(self) -> list[bytes]:
        return [*self.keys]

    def install(self, key: bytes) -> None:
        self.keys.append(key)

    def use(self, key: bytes) -> None:
        if key not in self.keys:
            raise Invalid("key: is not in the keyring")
        self.keys = [key, *(one for one in self.keys if one != key)]

    def remove(self, key: bytes) -> None:
        if key == self.primary:
            raise Conflict("key: is the primary one")
        self.keys.remove(key)


def test_the_bytes_are_serfs() -> None:
    assert encode_request(KEY) == REQUEST
    assert encode_request(b"") == EMPTY_REQUEST
    assert decode_request(REQUEST) == KEY
    assert decode_request(EMPTY_REQUEST) == b""
    result = KeyResult(True, "", ("a2V5",), "a2V5")
    assert encode_result(result) == RESPONSE
    assert decode_result(RESPONSE) == result


def test_orders_are_carried_out_or_say_why_not() -> None:
    ring = Ring(KEY)
    other = b"o" * 16
    assert carry_out(ring, INSTALL, encode_request(other)) == KeyResult(True)
    assert ring.keys == [KEY, other]
    shown = [base64.b64encode(key).decode() for key in ring.keys]
    listed = carry_out(ring, LIST, encode_request(b""))
    assert listed == KeyResult(True, "", tuple(shown), shown[0])
    assert carry_out(ring, REMOVE, encode_request(KEY)).message == "key: is the primary one"
    assert carry_out(ring, USE, encode_request(other)).ok
    assert carry_out(ring, REMOVE, encode_request(KEY)).ok
    assert ring.keys == [other]
    assert carry_out(ring, USE, encode_request(KEY)) == KeyResult(
        False, "key: is not in the keyring"
    )
    assert carry_out(ring, USE, b"\x08\x80").message == "key request: another kind of message"
    assert carry_out(None, LIST, b"") == KeyResult(False, NOT_ENCRYPTED)


def test_a_list_that_is_too_long_is_cut_and_says_so() -> None:
    sent: list[bytes] = []

    def send(body: bytes) -> None:
        if len(body) > 1024:
            raise TooLarge("limit")
        sent.append(body)

    keys = tuple(base64.b64encode(bytes([number]) * 32).decode() for number in range(32))
    send_what_fits(KeyResult(True, "", keys, keys[0]), send)
    (body,) = sent
    result = decode_result(body)
    assert result.message == "truncated key list response, showing first 18 of 32 keys"
    assert result.keys == keys[:18]
    send_what_fits(KeyResult(True, "", keys[:18], keys[0]), send)
    assert decode_result(sent[1]).message == ""

    def refuse(_: bytes) -> None:
        raise TooLarge("limit")

    with pytest.raises(TooLarge):
        send_what_fits(KeyResult(True), refuse)


@given(st.binary(max_size=200))
def test_any_bytes_raise_invalid_only(data: bytes) -> None:
    for kind, decode in ((b"\x07", decode_request), (b"\x08", decode_result)):
        for payload in (data, kind + data):
            with contextlib.suppress(Invalid):
                decode(payload)
