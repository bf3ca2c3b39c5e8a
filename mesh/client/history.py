"""Calls about history: who changed what and when, what differs, and making it what it was."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import msgspec

from mesh import codec
from mesh.client.call import Answer, Call, ReadOptions, decode_json, reading
from mesh.client.shapes import Shape

LATEST = ReadOptions()


class Change(Shape, frozen=True):
    """A change of a key, a service, a config entry ... `before` and `after` are rows as JSON."""

    id: int = 0
    """Counts the changes; the latest has the highest."""
    index: int = 0
    """The log index, to be named in `diff` and `revert`."""
    time: str = ""
    kind: str = ""
    key: str = ""
    op: str = ""
    author: str = ""
    """Accessor of the token; empty for none."""
    origin: str = ""
    """Where it came in: node, protocol and address of the client."""
    request: str = ""
    reverts: int = 0
    """The log index that it went back to; 0 for an ordinary change."""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None

    @property
    def old_value(self) -> bytes | None:
        """The value of the key before; None when there was none."""
        return value_of(self.before)

    @property
    def new_value(self) -> bytes | None:
        """The value of the key after; None when it was deleted."""
        return value_of(self.after)


class Side(Shape, frozen=True):
    """A row as it was at a log index, or None."""

    index: int = 0
    modify_index: int = 0
    row: dict[str, Any] | None = None


class Difference(Shape, frozen=True):
    """A row at two log indexes. `format` is none, text, json, binary or large (no text then)."""

    kind: str = ""
    key: str = ""
    before: Side = msgspec.field(name="From", default=Side())
    after: Side = msgspec.field(name="To", default=Side())
    format: str = ""
    diff: str = ""


class Reverted(Shape, frozen=True):
    """What was made what it was; not `changed` when it was so already."""

    kind: str = ""
    key: str = ""
    index: int = 0
    changed: bool = False


class Which(msgspec.Struct, frozen=True, kw_only=True):
    """Which changes: of one key, of those that begin with a prefix, or all."""

    kind: str = ""
    key: str = ""
    prefix: str | None = None
    author: str = ""
    since: str = ""
    """A duration before now, such as 2h, or a time."""
    limit: int = 0
    """At most so many; 0 for the server's default, 100."""
    before: int = 0
    """Only changes with lower ids."""

    def params(self) -> list[tuple[str, str]]:
        """As the query string has them."""
        given = [
            ("kind", self.kind),
            ("key", self.key),
            ("author", self.author),
            ("since", self.since),
            ("limit", str(self.limit or "")),
            ("before", str(self.before or "")),
        ]
        params = [(name, value) for name, value in given if value]
        return params if self.prefix is None else [*params, ("prefix", self.prefix)]


ALL = Which()


def changes(which: Which = ALL, options: ReadOptions = LATEST) -> Call[Answer[list[Change]]]:
    """The changes, the latest first."""
    return reading("/v1/history", list[Change], options, which.params())


def diff(
    key: str,
    *,
    kind: str = "kv",
    before: int = 0,
    after: int = 0,
    options: ReadOptions = LATEST,
) -> Call[Answer[Difference]]:
    """What differs between two log indexes; by default what the last change did."""
    given = [("from", before), ("to", after)]
    params = [("kind", kind), ("key", key), *((name, str(one)) for name, one in given if one)]
    return reading("/v1/history/diff", Difference, options, params)


def revert(
    key: str, index: int, *, kind: str = "kv", cas: int | None = None, datacenter: str = ""
) -> Call[Reverted]:
    """Make a row again what it was at a log index; with cas if its modify index is that now."""
    body: dict[str, Any] = {"Kind": kind, "Key": key, "Index": index}
    if cas is not None:
        body["CAS"] = cas
    return Call(
        method="POST",
        path="/v1/history/revert",
        decode=lambda response: decode_json(response.body, Reverted),
        params=(("dc", datacenter),) if datacenter else (),
        body=codec.to_json(body),
    )


def value_of(row: dict[str, Any] | None) -> bytes | None:
    """The value in a row of the key/value store."""
    return None if row is None else b64decode(row.get("Value") or "")
