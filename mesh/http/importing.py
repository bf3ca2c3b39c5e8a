"""/v1/internal/import: records of another registry, as `meshctl import` reads them."""

from __future__ import annotations

from mesh import codec
from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import Route
from mesh.http.shapes import Shape
from mesh.registry.imports import Merge


class MergedShape(Shape, frozen=True, kw_only=True):
    """How many rows were not so before."""

    changed: int


async def merge(request: Request) -> Reply:
    """Write all records in the body, or none of them."""
    command = codec.unpack(request.body, Merge)
    changed = await request.parts.registry.write(command, params.write_options(request))
    return respond.json(MergedShape(changed=changed))


ROUTES: tuple[Route, ...] = (
    Route(
        "PUT",
        "/v1/internal/import",
        merge,
        "Write records of another registry as they are",
        body=bytes,
        answer=MergedShape,
        statuses=(
            (400, "The records are not what meshctl import sends; none was written"),
            (500, "One of the records contradicts what is here; none was written"),
        ),
    ),
)
