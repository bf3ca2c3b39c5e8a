"""/v1/coordinate: where nodes are in the network."""

from __future__ import annotations

import functools

from mesh.errors import Busy, Invalid
from mesh.http import params, respond
from mesh.http.request import Handler, Reply, Request
from mesh.http.route import READ, Param, Route
from mesh.http.shapes import Shape
from mesh.registry import coordinates
from mesh.registry.coordinates import Coordinate, Placed


class CoordShape(Shape, frozen=True):
    """A point of the network's map, in seconds."""

    vec: tuple[float, ...]
    error: float
    adjustment: float
    height: float


class PlaceShape(Shape, frozen=True):
    """A node and where it is."""

    node: str
    segment: str
    coord: CoordShape


class ServerShape(Shape, frozen=True):
    """A server of a datacenter and where it is."""

    node: str
    coord: CoordShape


class DatacenterShape(Shape, frozen=True):
    """The servers of a datacenter in the pool of all datacenters."""

    datacenter: str
    area_id: str
    coordinates: list[ServerShape]


class CoordBody(Shape, frozen=True):
    """What a client tells of a point."""

    vec: tuple[float, ...] = ()
    error: float = 1.5
    adjustment: float = 0.0
    height: float = 1e-5


class UpdateBody(Shape, frozen=True):
    """What a client tells of a node."""

    node: str = ""
    segment: str = ""
    coord: CoordBody = CoordBody()


def _unless_disabled(handler: Handler) -> Handler:
    @functools.wraps(handler)
    async def guarded(request: Request) -> Reply:
        if request.options.disable_coordinates:
            return respond.text(401, "Coordinate support disabled [disable_coordinates]")
        return await handler(request)

    return guarded


@_unless_disabled
async def datacenters(request: Request) -> Reply:
    """The servers of each datacenter, as a server here knows them."""
    options = params.order_to(request, "here")
    found = await request.parts.registry.operate(coordinates.Datacenters(), options)
    return respond.json(
        [
            DatacenterShape(
                one.datacenter,
                "WAN",
                [ServerShape(server.node, _coord(server.coordinate)) for server in one.servers],
            )
            for one in found
        ]
    )


@_unless_disabled
async def nodes(request: Request) -> Reply:
    """Every node that told where it is."""
    _refuse_segment(request.param("segment"))
    options = params.read_options(request)
    found = await request.parts.registry.read(coordinates.All(), options)
    return respond.answered(found, [_place(place) for place in found.value])


@_unless_disabled
async def node(request: Request) -> Reply:
    """One node, as a list; 404 when it told nothing."""
    _refuse_segment(request.param("segment"))
    name = params.required(request, "node name")
    found = await request.parts.registry.read(coordinates.Of(name), params.read_options(request))
    if found.value is None:
        return Reply(status=404, headers=respond.read_headers(found))
    return respond.answered(found, [_place(found.value)])


@_unless_disabled
async def update(request: Request) -> Reply:
    """Take it to the leader, which writes it within seconds."""
    body = params.body(request, UpdateBody)
    _refuse_segment(body.segment)
    one = body.coord
    placed = Placed(body.node, Coordinate(one.vec, one.error, one.adjustment, one.height))
    options = params.order_to(request, "leader")
    if not await request.parts.registry.operate(coordinates.Report(placed), options):
        raise Busy("too many coordinates wait to be written; tell it again in some seconds")
    return respond.nothing()


def _refuse_segment(segment: str) -> None:
    if segment:
        raise Invalid("segment: mesh has no network segments")


def _place(place: coordinates.Place) -> PlaceShape:
    return PlaceShape(place.node, "", _coord(place.coordinate))


def _coord(one: Coordinate) -> CoordShape:
    return CoordShape(one.vec, one.error, one.adjustment, one.height)


_SEGMENT = Param("segment", "Must be empty: mesh has no network segments")
_OFF = (401, "Coordinates are turned off")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/coordinate/datacenters",
        datacenters,
        "Coordinates of the servers of each datacenter",
        answer=list[DatacenterShape],
        statuses=(_OFF,),
    ),
    Route(
        "GET",
        "/v1/coordinate/nodes",
        nodes,
        "Coordinates of all nodes",
        params=(*READ, _SEGMENT),
        answer=list[PlaceShape],
        statuses=(_OFF,),
    ),
    Route(
        "GET",
        "/v1/coordinate/node/:node",
        node,
        "Coordinates of one node",
        params=(*READ, _SEGMENT),
        answer=list[PlaceShape],
        statuses=(_OFF, (404, "The node told nothing, or there is none; the body is empty")),
    ),
    Route(
        "PUT",
        "/v1/coordinate/update",
        update,
        "Tell where a node is",
        body=UpdateBody,
        statuses=(_OFF, (429, "Too many coordinates wait to be written")),
    ),
)
