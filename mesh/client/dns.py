"""Calls about DNS: how an agent answers a question."""

from __future__ import annotations

import msgspec

from mesh.client.call import Call, decode_json
from mesh.client.shapes import Shape


class Candidate(Shape, frozen=True):
    """An instance that may have been answered; `fate` is answered or left out, `why` says why."""

    node: str = ""
    service_id: str = ""
    address: str = ""
    port: int = 0
    tags: list[str] = []
    status: str = ""
    fate: str = ""
    why: str = ""
    complaints: list[str] = []
    """What its checks that do not pass say."""


class Explanation(Shape, frozen=True):
    """How a question was answered."""

    name: str = ""
    type: str = ""
    over: str = ""
    meaning: str = ""
    read: str = ""
    rules: list[str] = []
    candidates: list[Candidate] = []
    code: str = ""
    error: str = ""
    flags: list[str] = []
    answers: list[str] = []
    additional: list[str] = []
    authority: list[str] = []
    ttl: int | None = msgspec.field(name="TTL", default=None)
    ttl_rule: str = msgspec.field(name="TTLRule", default="")
    made: int = 0
    size: int = 0
    size_max: int = 0
    kept: str = ""


def explain(
    name: str,
    kind: str = "A",
    *,
    tcp: bool = False,
    edns_bytes: int | None = None,
    subnet: str = "",
) -> Call[Explanation]:
    """Have the agent answer a question as its DNS does, and say how."""
    params = [("name", name), ("type", kind)]
    if tcp:
        params.append(("tcp", ""))
    if edns_bytes is not None:
        params.append(("edns", str(edns_bytes)))
    if subnet:
        params.append(("subnet", subnet))
    return Call(
        method="GET",
        path="/v1/agent/dns/explain",
        decode=lambda response: decode_json(response.body, Explanation),
        params=tuple(params),
    )
