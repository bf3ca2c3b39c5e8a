"""Keys: what they seal they open, in both versions and all sizes, and nothing else opens."""

import base64
import contextlib
import itertools
import os
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Conflict, Invalid
from mesh.gossip.keyring import (
    KEYS_MAX,
    OVERHEAD_BYTES,
    PADDED,
    PLAIN,
    Keyring,
    read_key,
    write_key,
)

A, B, C = b"a" * 16, b"b" * 24, b"c" * 32


def counted() -> Callable[[], bytes]:
    numbers = itertools.count(1)
    return lambda: next(numbers).to_bytes(12, "big")


def ring(*keys: bytes) -> Keyring:
    return Keyring(keys, counted())


@pytest.mark.parametrize("key", [A, B, C])
@pytest.mark.parametrize("version", [PADDED, PLAIN])
@given(content=st.binary(max_size=100), bound=st.binary(max_size=20))
def test_what_is_sealed_is_opened(key: bytes, version: int, content: bytes, bound: bytes) -> None:
    keys = ring(key)
    sealed = keys.seal(content, bound, version)
    assert sealed[0] == version
    assert keys.open(sealed, bound) == content
    grown = len(sealed) - len(content)
    assert grown == OVERHEAD_BYTES if version == PLAIN else 29 < grown <= 45
    with pytest.raises(Invalid, match="not encrypted with a key"):
        keys.open(sealed, bound + b"x")


# NIST's test vectors for AES-GCM (128-bit key, 96-bit nonce, no data bound): other software agrees.
def test_the_cipher_is_aes_gcm() -> None:
    keys = Keyring([bytes(16)], lambda: bytes(12))
    body = "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf"
    assert keys.seal(bytes(16)).hex() == "01" + "00" * 12 + body


def test_nonces_are_the_given_ones_and_each_is_new() -> None:
    keys = ring(A)
    first, second = keys.seal(b"x"), keys.seal(b"x")
    assert first[1:13] == (1).to_bytes(12, "big")
    assert second[1:13] == (2).to_bytes(12, "big")
    assert first[13:] != second[13:]


def test_any_key_opens_and_the_first_one_seals() -> None:
    both = ring(A, B)
    assert both.open(ring(B).seal(b"x")) == b"x"
    assert ring(A).open(both.seal(b"x")) == b"x"
    with pytest.raises(Invalid):
        ring(B).open(both.seal(b"x"))


def test_keys_are_installed_used_and_removed() -> None:
    saved: list[Sequence[bytes]] = []
    keys = Keyring([A], counted(), saved.append)
    keys.install(B)
    keys.install(B)
    assert keys.list() == [A, B]
    keys.use(B)
    keys.use(B)
    assert (keys.primary, keys.list()) == (B, [B, A])
    with pytest.raises(Conflict, match="primary"):
        keys.remove(B)
    keys.remove(A)
    keys.remove(A)
    assert saved == [[A, B], [B, A], [B]]
    with pytest.raises(Invalid, match="not in the keyring"):
        keys.use(A)
    with pytest.raises(Invalid, match="16, 24 or 32"):
        keys.install(b"short")


def test_keys_that_cannot_be_saved_do_not_change() -> None:
    def fails(_: Sequence[bytes]) -> None:
        raise Conflict("disk")

    keys = Keyring([A], counted(), fails)
    with pytest.raises(Conflict, match="disk"):
        keys.install(B)
    assert keys.list() == [A]


def test_a_keyring_has_keys_but_not_any_number() -> None:
    with pytest.raises(Invalid, match="at least one"):
        Keyring([], counted())
    many = [bytes([number]) * 16 for number in range(KEYS_MAX)]
    keys = Keyring(many, counted())
    with pytest.raises(Invalid, match="remove old ones"):
        keys.install(C)
    with pytest.raises(Invalid, match="at most"):
        Keyring([*many, C], counted())


@pytest.mark.parametrize("data", [b"", b"\x01" * 28, b"\x00" * 44, b"\x02" * 60, b"\xff"])
def test_what_is_too_short_or_of_another_version_is_not_encrypted(data: bytes) -> None:
    with pytest.raises(Invalid, match="is not encrypted"):
        ring(A).open(data)


def test_a_padding_that_cannot_be_is_refused() -> None:
    # Sealed by hand, since `seal` pads rightly.
    keys = ring(A)
    for content in (b"x" * 15 + b"\x00", b"x" * 15 + b"\x11"):
        sealed = keys.seal(content, b"", PLAIN)
        with pytest.raises(Invalid, match="padded wrongly"):
            keys.open(b"\x00" + sealed[1:])


@given(st.binary(max_size=200))
def test_any_bytes_raise_invalid_only(data: bytes) -> None:
    with contextlib.suppress(Invalid):
        ring(A, B).open(data)


def test_keys_are_read_and_written_as_base64() -> None:
    key = os.urandom(32)
    assert read_key(f" {write_key(key)}\n") == key
    for text in ("", "x", "!!!!", base64.b64encode(b"x" * 17).decode(), "ü"):
        with pytest.raises(Invalid, match="16, 24 or 32 bytes in base64"):
            read_key(text)
