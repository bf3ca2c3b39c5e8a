"""Calls about transactions: several reads and writes, all or none of them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from mesh import codec
from mesh.client.call import Call, ReadOptions, Response, decode_json
from mesh.client.shapes import Check, Node, Pair, Service, Shape

LATEST = ReadOptions()

Op: TypeAlias = dict[str, Any]
"""One step, as the API has it; the functions here make them."""


class Result(Shape, frozen=True, omit_defaults=True):
    """What one op shows: one of these."""

    kv: Pair | None = msgspec.field(default=None, name="KV")
    """Without its value, unless the op is a get."""
    node: Node | None = None
    service: Service | None = None
    check: Check | None = None


class Failure(Shape, frozen=True):
    """An op that failed, counted from 0, and why."""

    op: int = msgspec.field(name="OpIndex")
    what: str


class Outcome(Shape, frozen=True):
    """What a transaction came to. With errors nothing was done."""

    results: list[Result] = []
    """In the order of the ops; those that delete show nothing."""
    errors: list[Failure] = []

    @property
    def done(self) -> bool:
        """Whether all was done."""
        return not self.errors


def apply(ops: Sequence[Op], options: ReadOptions = LATEST) -> Call[Outcome]:
    """Do all ops in order, or nothing; every op that fails is in the outcome's errors.

    If all of them read, the options say how; else only their datacenter counts.
    """

    def decode(response: Response) -> Outcome:
        return decode_json(response.body, Outcome)

    return Call(
        method="PUT",
        path="/v1/txn",
        decode=decode,
        params=options.params(),
        body=codec.to_json(list(ops)),
        accepts=(200, 409),
    )


def kv(
    verb: str,
    key: str,
    value: bytes | str = b"",
    *,
    flags: int = 0,
    index: int = 0,
    session: str = "",
) -> Op:
    """An op on keys.

    Verbs that read: get, get-or-empty, get-tree, check-index, check-not-exists, check-session.
    Verbs that write: set, cas, lock, unlock, delete, delete-cas, delete-tree. The index is the
    modify index that check-index, cas and delete-cas expect.
    """
    data = value.encode() if isinstance(value, str) else value
    given = {
        "Value": b64encode(data).decode() if data else None,
        "Flags": flags,
        "Index": index,
        "Session": session,
    }
    more = {name: one for name, one in given.items() if one}
    return {"KV": {"Verb": verb, "Key": key, **more}}


def node(verb: str, fields: dict[str, Any]) -> Op:
    """An op on a node: get, set, cas, delete or delete-cas. The fields have the API's names."""
    return {"Node": {"Verb": verb, "Node": fields}}


def service(verb: str, node: str, fields: dict[str, Any]) -> Op:
    """An op on an instance of a service on a node. Verbs and fields as for nodes."""
    return {"Service": {"Verb": verb, "Node": node, "Service": fields}}


def check(verb: str, fields: dict[str, Any]) -> Op:
    """An op on a check. Verbs and fields as for nodes."""
    return {"Check": {"Verb": verb, "Check": fields}}


def end_session(identity: str) -> Op:
    """End a session; its keys are released or deleted, as it says."""
    return {"Session": {"Verb": "delete", "Session": {"ID": identity}}}
