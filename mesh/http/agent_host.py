"""/v1/agent: the machine it runs on, its metrics as they come, and its tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from mesh.agent.operations import NodeOperations
from mesh.codec import to_json
from mesh.http import respond
from mesh.http.request import Reply, Request
from mesh.http.route import Route
from mesh.http.shapes import Shape
from mesh.http.shapes_agent import MetricsShape
from mesh.telemetry.host import collect
from mesh.telemetry.metrics import Metrics

ACL_OFF = "ACL support disabled"


class HostShape(Shape, frozen=True, kw_only=True):
    """The machine: sizes in bytes, times in seconds; a part that cannot be read is null."""

    memory: dict[str, Any] | None
    cpu: list[dict[str, Any]] | None = msgspec.field(name="CPU")
    host: dict[str, Any] | None
    disk: dict[str, Any] | None
    """The one that holds the data directory."""
    collection_time: int
    """Nanoseconds since 1970."""
    errors: list[str] | None


async def host(request: Request) -> Reply:
    """Memory, processors, system and disk of the machine."""
    folder = request.parts.agent.options.data_dir or "/"
    # A file system that hangs holds up this answer alone.
    found = await asyncio.to_thread(collect, folder, request.parts.clock.wall())
    return respond.json(found)


async def metrics_stream(request: Request) -> Reply:
    """The metrics of each interval as it ends, a JSON object a line, until the client goes."""
    operations: NodeOperations = request.parts.agent.operations
    return Reply(stream=_intervals(operations.metrics()))


async def _intervals(metrics: Metrics) -> AsyncIterator[bytes]:
    while True:
        await metrics.turned()
        yield to_json(metrics.report()) + b"\n"


async def token(_: Request) -> Reply:
    """Refused: without ACLs no agent has tokens."""
    return respond.text(401, ACL_OFF)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/agent/host",
        host,
        "Memory, processors, system and disk of the machine",
        answer=HostShape,
    ),
    Route(
        "GET",
        "/v1/agent/metrics/stream",
        metrics_stream,
        "Metrics of each interval of ten seconds as it ends, a JSON object a line",
        answer=MetricsShape,
    ),
    Route(
        "PUT",
        "/v1/agent/token/:kind",
        token,
        "Give the agent a token to use; refused as long as there are no ACLs",
        statuses=((401, "ACLs are off"),),
    ),
)
