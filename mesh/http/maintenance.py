"""/v1/maintenance: nodes, services and instances in maintenance for the whole cluster. Ours."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from mesh.durations import parse_duration
from mesh.errors import Invalid
from mesh.http import params, respond, shapes
from mesh.http.request import Reply, Request
from mesh.http.route import FILTER, READ, Param, Route
from mesh.registry import maintenance
from mesh.registry.maintenance import Maintenance, Target

TARGET = (
    Param("node", "The name of a node; alone: the whole node"),
    Param("service_id", "The id of one instance on that node"),
    Param("service", "The name of a service: all its instances"),
)


class MaintenanceShape(shapes.Shape, frozen=True, kw_only=True):
    """Something in maintenance: a node, an instance on a node, or a service."""

    node: str
    service: str
    service_id: str
    reason: str
    owner: str
    since: str
    until: str
    """RFC 3339; empty when it ends only by an operator's word."""
    create_index: int
    modify_index: int


class BegunShape(MaintenanceShape, frozen=True, kw_only=True):
    """What is in maintenance now, and how many instances the catalog has of it."""

    instances: int


class MaintenanceBody(shapes.Shape, frozen=True, kw_only=True):
    """What to put into maintenance: Node, Node and ServiceID, or Service."""

    node: str = ""
    service: str = ""
    service_id: str = ""
    reason: str = ""
    owner: str = ""
    for_: str = msgspec.field(default="", name="For")
    """How long, such as 2h."""
    until: str = ""
    """Or until when: RFC 3339, such as 2026-01-31T18:00:00Z."""


async def every(request: Request) -> Reply:
    """Everything that is in maintenance, with why, for whom and until when."""
    options = params.read_options(request)
    params.check_filter(request, MaintenanceShape)
    found = await request.parts.registry.read(maintenance.All(), options)
    rows = [MaintenanceShape(**_fields(row)) for row in found.value]
    return respond.answered(found, await params.filtered(request, rows, MaintenanceShape))


async def begin(request: Request) -> Reply:
    """Put a node, a service or an instance into maintenance, or change that."""
    body = params.body(request, MaintenanceBody)
    command = maintenance.Begin(
        Target(body.node, body.service, body.service_id),
        body.reason,
        body.owner,
        _seconds(body.for_),
        _time(body.until),
    )
    begun = await request.parts.registry.write(command, params.write_options(request))
    return respond.json(BegunShape(**_fields(begun.row), instances=begun.instances))


async def end(request: Request) -> Reply:
    """End it; false when exactly this is not in maintenance."""
    target = Target(request.param("node"), request.param("service"), request.param("service_id"))
    command, options = maintenance.End(target), params.write_options(request)
    return respond.boolean(await request.parts.registry.write(command, options))


def _seconds(text: str) -> float:
    if not text:
        return 0.0
    try:
        seconds = parse_duration(text)
    except Invalid as error:
        raise Invalid(f"For: {error.message}") from error
    if seconds <= 0:
        raise Invalid(f'For: expected a duration above 0 such as 2h, got "{text}"')
    return seconds


def _time(text: str) -> float:
    if not text:
        return 0.0
    found: datetime | None = None
    with suppress(ValueError):
        found = datetime.fromisoformat(text)
    if found is None or found.tzinfo is None or found.year < 1971:
        raise Invalid(f'Until: expected a time such as 2030-01-31T18:00:00Z, got "{text}"')
    return found.timestamp()


def _fields(row: Maintenance) -> dict[str, Any]:
    target = row.target
    return {
        "node": target.node,
        "service": target.service,
        "service_id": target.service_id,
        "reason": row.reason,
        "owner": row.owner,
        "since": _shown(row.since),
        "until": _shown(row.until),
        "create_index": row.create_index,
        "modify_index": row.modify_index,
    }


def _shown(seconds: float) -> str:
    if not seconds:
        return ""
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"


_WRONG = (400, "What to put into maintenance, or until when, makes no sense")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/maintenance",
        every,
        "What is in maintenance for the whole cluster",
        params=READ + FILTER,
        answer=list[MaintenanceShape],
    ),
    Route(
        "PUT",
        "/v1/maintenance",
        begin,
        "Put a node, a service or an instance into maintenance for the whole cluster",
        body=MaintenanceBody,
        answer=BegunShape,
        statuses=(_WRONG,),
    ),
    Route(
        "DELETE",
        "/v1/maintenance",
        end,
        "End the maintenance of exactly this",
        params=TARGET,
        answer=bool,
        statuses=(_WRONG,),
    ),
)
