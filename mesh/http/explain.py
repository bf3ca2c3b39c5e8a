"""/v1/agent/dns/explain: how this agent's DNS answers a question."""

from __future__ import annotations

import ipaddress

from mesh.agent.explained import Asking
from mesh.errors import Invalid
from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import Param, Route
from mesh.http.shapes import Shape

EDNS_BYTES = 1232


class CandidateShape(Shape, frozen=True, kw_only=True):
    """An instance that may have been answered, and why it was or was not."""

    node: str
    service_id: str
    address: str
    port: int
    tags: list[str]
    status: str
    fate: str
    why: str
    complaints: list[str]


class ExplanationShape(Shape, frozen=True, kw_only=True):
    """How a question was answered."""

    name: str
    type: str
    over: str
    meaning: str
    read: str
    rules: list[str]
    candidates: list[CandidateShape]
    code: str
    error: str
    flags: list[str]
    answers: list[str]
    additional: list[str]
    authority: list[str]
    ttl: int | None
    ttl_rule: str
    made: int
    size: int
    size_max: int
    kept: str


async def explain(request: Request) -> Reply:
    """Answer a question as DNS does, and say how that came about."""
    name, edns = request.param("name"), request.param("edns")
    if not name:
        raise Invalid("name: say which name to explain")
    asking = Asking(
        name=name,
        kind=request.param("type") or "A",
        tcp=params.flag(request, "tcp"),
        edns_bytes=params.whole(edns, "edns") if edns else EDNS_BYTES,
        subnet=request.param("subnet"),
        peer=_peer(request),
    )
    found = await request.parts.agent.operations.explain(asking)
    told = {field: getattr(found, field) for field in found.__struct_fields__}
    told["type"] = told.pop("kind")
    told["candidates"] = [
        CandidateShape(**{field: getattr(one, field) for field in one.__struct_fields__})
        for one in found.candidates
    ]
    return respond.json(ExplanationShape(**told))


def _peer(request: Request) -> str:
    try:
        return str(ipaddress.ip_address(request.remote))
    except ValueError:
        return ""


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/agent/dns/explain",
        explain,
        "How this agent's DNS answers a question",
        params=(
            Param("name", "The name, such as web.service.mesh", required=True),
            Param("type", "A (if not given), AAAA, ANY, CNAME, NS, PTR, SOA, SRV or TXT"),
            Param("tcp", "As if it came over TCP", "boolean"),
            Param("edns", "Bytes that the client takes: 1232 if not given, 0: no EDNS", "integer"),
            Param("subnet", "Whose question a resolver passes on: an address or a network"),
        ),
        answer=ExplanationShape,
    ),
)
