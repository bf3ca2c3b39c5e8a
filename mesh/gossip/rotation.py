"""Rotation: the pool's encryption keys are changed everywhere by Serf's own queries.

A new key is installed on every member, then used by every member, then the old one removed. Who
was away in between must be given the keys by hand, hence what each member answered is shown.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgpack
import msgspec

from mesh.errors import Invalid, MeshError, TooLarge
from mesh.gossip.bodies import KEY_REQUEST, KEY_RESPONSE
from mesh.gossip.messages import pack_map, raw, text, unpack_map

INSTALL, USE = "_serf_install-key", "_serf_use-key"
REMOVE, LIST = "_serf_remove-key", "_serf_list-keys"
NAMES = {INSTALL, USE, REMOVE, LIST}
KEYS_MAX = 1024
NOT_ENCRYPTED = "Keyring is empty (encryption not enabled)"


class Keys(Protocol):
    """A keyring that can be changed while the pool runs. A change may raise a MeshError."""

    @property
    def primary(self) -> bytes:
        """The key that seals."""
        ...

    def list(self) -> list[bytes]:
        """Every key, the primary one first."""
        ...

    def install(self, key: bytes) -> None:
        """Add a key that opens."""
        ...

    def use(self, key: bytes) -> None:
        """Seal with this key from now on."""
        ...

    def remove(self, key: bytes) -> None:
        """Forget a key that is not the primary one."""
        ...


class KeyResult(msgspec.Struct, frozen=True):
    """What one member did with an order about keys. Keys are base64; only `list` gives them."""

    ok: bool
    message: str = ""
    keys: tuple[str, ...] = ()
    primary: str = ""


def carry_out(keys: Keys | None, name: str, payload: bytes) -> KeyResult:
    """Do what the query of this name orders; never raises."""
    if keys is None:
        return KeyResult(False, NOT_ENCRYPTED)
    try:
        if name == LIST:
            return KeyResult(True, "", tuple(map(_shown, keys.list())), _shown(keys.primary))
        orders: Mapping[str, Callable[[bytes], None]] = {
            INSTALL: keys.install,
            USE: keys.use,
            REMOVE: keys.remove,
        }
        orders[name](decode_request(payload))
    except MeshError as error:
        return KeyResult(False, error.message)
    return KeyResult(True)


def _shown(key: bytes) -> str:
    return base64.b64encode(key).decode("ascii")


def send_what_fits(result: KeyResult, send: Callable[[bytes], None]) -> None:
    """Give `send` the result, with as many keys as it takes without TooLarge."""
    actual = len(result.keys)
    for count in range(actual, -1, -1):
        if count < actual:
            result = msgspec.structs.replace(
                result,
                keys=result.keys[:count],
                message=f"truncated key list response, showing first {count} of {actual} keys",
            )
        try:
            send(encode_result(result))
        except TooLarge:
            if not count:
                raise
        else:
            return


def encode_request(key: bytes) -> bytes:
    """The payload of a query about this key, type byte first; empty for `list`."""
    # Not pack_map: Go writes an empty key as such.
    packed: bytes = msgpack.packb({"Key": key}, use_bin_type=False)
    return bytes((KEY_REQUEST,)) + packed


def decode_request(payload: bytes) -> bytes:
    """Read the key of a query. Raises Invalid."""
    if payload[:1] != bytes((KEY_REQUEST,)):
        raise Invalid("key request: another kind of message")
    return raw(unpack_map(memoryview(payload)[1:]), "Key")


def encode_result(result: KeyResult) -> bytes:
    """The payload of an answer, type byte first."""
    fields = {
        "Keys": list(result.keys) or None,
        "Message": result.message,
        "PrimaryKey": result.primary,
        "Result": result.ok,
    }
    return bytes((KEY_RESPONSE,)) + pack_map(fields)


def decode_result(payload: bytes) -> KeyResult:
    """Read an answer. Raises Invalid. Serf before 0.9 does not say which key is the primary one."""
    if payload[:1] != bytes((KEY_RESPONSE,)):
        raise Invalid("key response: another kind of message")
    fields: dict[Any, Any] = unpack_map(memoryview(payload)[1:])
    keys = fields.get(b"Keys") or []
    if not isinstance(keys, list) or len(keys) > KEYS_MAX:
        raise Invalid(f"Keys: expected a list of at most {KEYS_MAX}")
    if not all(isinstance(key, bytes) for key in keys):
        raise Invalid("Keys: expected base64")
    return KeyResult(
        ok=bool(fields.get(b"Result")),
        message=text(fields, "Message"),
        keys=tuple(key.decode("utf-8", "replace") for key in keys),
        primary=text(fields, "PrimaryKey"),
    )
