"""Calls about the mesh: a service's leaf, the roots, and who may call whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from mesh import codec
from mesh.client import ca
from mesh.client.ca import Leaf, Roots
from mesh.client.call import (
    Answer,
    Call,
    ReadOptions,
    Response,
    answer,
    decode_json,
    path_of,
    reading,
    writing,
)
from mesh.client.shapes import Instance, Shape

LATEST = ReadOptions()
CALLERS_MAX, COUNT_MAX = 128, 1_000_000
"""What agents take of refused connections at once: so many callers, and of each so many."""
FIRST_LEAF_SECONDS = 30.0
"""How much longer an agent may take that has to have the leaf made."""


class Verdict(Shape, frozen=True):
    """Whether somebody may connect, and the rule that says so."""

    authorized: bool = False
    reason: str = ""
    dry_run: Literal["", "allowed", "denied"] = ""
    """What it were if dry runs were enforced; empty where none is there."""


class Judged(NamedTuple):
    """A caller, and what became of a connection of it."""

    caller: str
    """Its SPIFFE ID."""
    allowed: bool = False
    dry_run: Literal["", "allowed", "denied"] = ""
    """What it were if dry runs were enforced."""


def leaf(service: str, options: ReadOptions = LATEST) -> Call[Answer[Leaf]]:
    """The leaf of a service, which the agent has made if there is none. Renewals come by index."""
    call = ca.leaf(service, options)
    return msgspec.structs.replace(call, wait_seconds=max(call.wait_seconds, FIRST_LEAF_SECONDS))


def roots(options: ReadOptions = LATEST) -> Call[Answer[Roots]]:
    """The roots, as the agent knows them."""
    return reading("/v1/agent/connect/ca/roots", Roots, options)


def authorize(service: str, caller: str, serial: str = "") -> Call[Verdict]:
    """Whether who has this SPIFFE ID and serial number may connect to the service."""
    body = {"Target": service, "ClientCertURI": caller, "ClientCertSerial": serial}
    return Call(
        method="POST",
        path="/v1/agent/connect/authorize",
        params=(("dry-run", ""),),
        decode=lambda response: decode_json(response.body, Verdict),
        body=codec.to_json(body),
    )


def refused(service: str, judged: Mapping[Judged, int]) -> Call[None]:
    """Tell how many connections to the service intentions refused, or would by dry runs.

    For proxies that enforce intentions themselves; at most CALLERS_MAX callers at once.
    """
    found = [_told(one, count) for one, count in judged.items()]
    return writing(
        "/v1/agent/connect/refused", body=codec.to_json({"Target": service, "Callers": found})
    )


def _told(one: Judged, count: int) -> dict[str, object]:
    told: dict[str, object] = {"ClientCertURI": one.caller, "Count": count}
    if one.dry_run:  # Agents that never say so do not know these fields.
        told |= {"Allowed": one.allowed, "DryRun": one.dry_run}
    return told


def rules(service: str, options: ReadOptions = LATEST) -> Call[Answer[bytes]]:
    """What decides who may call a service, to be told when it changes.

    The value is new whenever the index is: not all that decides can be seen in it.
    """
    params = (("by", "destination"), ("name", service))

    def decode(response: Response) -> Answer[bytes]:
        found = answer(response, response.body)
        return answer(response, b"%d %s" % (found.index, response.body))

    return Call(
        method="GET",
        path="/v1/connect/intentions/match",
        decode=decode,
        params=(*params, *options.params()),
    )


def instances(service: str, options: ReadOptions = LATEST) -> Call[Answer[list[Instance]]]:
    """Where the mesh reaches a service: its sidecars, and instances that need none."""
    return reading(path_of("health/connect", service), list[Instance], options)
