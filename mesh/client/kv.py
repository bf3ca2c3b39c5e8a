"""Calls of the key/value store: read, write and delete pairs."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from mesh.client.call import (
    Answer,
    Call,
    Params,
    ReadOptions,
    Response,
    answer,
    blocking_seconds,
    deciding,
    decode_json,
    path_of,
)
from mesh.client.shapes import Pair

T = TypeVar("T")

LATEST = ReadOptions()


class Lock(msgspec.Struct, frozen=True):
    """Take, or with release give back, the lock on a key for a session."""

    session: str
    release: bool = False


def get(key: str, options: ReadOptions = LATEST) -> Call[Answer[Pair | None]]:
    """One pair, or None."""

    def decode(response: Response) -> Answer[Pair | None]:
        pairs = decode_json(response.body, list[Pair]) if response.status == 200 else []
        return answer(response, pairs[0] if pairs else None)

    return Call(
        method="GET",
        path=path_of("kv", key, folders=True),
        decode=decode,
        params=options.params(),
        accepts=(200, 404),
        wait_seconds=blocking_seconds(options),
    )


def under(prefix: str = "", options: ReadOptions = LATEST) -> Call[Answer[list[Pair]]]:
    """Every pair whose key starts with the prefix, in order; empty when there is none."""
    return _listing(prefix, list[Pair], (("recurse", ""),), options)


def keys(
    prefix: str = "", separator: str = "", options: ReadOptions = LATEST
) -> Call[Answer[list[str]]]:
    """The keys under the prefix, cut after the first separator that follows it."""
    params = (("keys", ""), ("separator", separator)) if separator else (("keys", ""),)
    return _listing(prefix, list[str], params, options)


def put(
    key: str,
    value: bytes | str,
    *,
    flags: int = 0,
    cas: int | None = None,
    lock: Lock | None = None,
    datacenter: str = "",
) -> Call[bool]:
    """Write a pair. With cas only if its modify index is that; 0 means it must not exist.

    False when the condition, or the lock, did not hold.
    """
    params = [("flags", str(flags))] if flags else []
    if cas is not None:
        params.append(("cas", str(cas)))
    if lock is not None:
        params.append(("release" if lock.release else "acquire", lock.session))
    if datacenter:
        params.append(("dc", datacenter))
    body = value.encode() if isinstance(value, str) else value
    return deciding("PUT", path_of("kv", key, folders=True), params, body)


def delete(key: str, *, cas: int | None = None, datacenter: str = "") -> Call[bool]:
    """Delete a key, if there. With cas only if its modify index is that."""
    params = [("cas", str(cas))] if cas is not None else []
    if datacenter:
        params.append(("dc", datacenter))
    return deciding("DELETE", path_of("kv", key, folders=True), params)


def delete_under(prefix: str, *, datacenter: str = "") -> Call[bool]:
    """Delete every key that starts with the prefix; the empty prefix deletes all."""
    params = [("recurse", "")]
    if datacenter:
        params.append(("dc", datacenter))
    return deciding("DELETE", path_of("kv", prefix, folders=True), params)


def _listing(
    prefix: str, kind: type[list[T]], params: Params, options: ReadOptions
) -> Call[Answer[list[T]]]:
    def decode(response: Response) -> Answer[list[T]]:
        found = decode_json(response.body, kind) if response.status == 200 else []
        return answer(response, found)

    return Call(
        method="GET",
        path=path_of("kv", prefix, folders=True),
        decode=decode,
        params=(*params, *options.params()),
        accepts=(200, 404),
        wait_seconds=blocking_seconds(options),
    )
