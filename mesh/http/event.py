"""/v1/event: tell something to all agents, and read what this one heard."""

from __future__ import annotations

import asyncio

import msgspec

from mesh.agent.events import Event, Events, check, encode, index_of, too_large
from mesh.errors import TooLarge
from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import BLOCKING, Param, Route
from mesh.http.shapes import Shape
from mesh.registry.orders import FireEvent


class EventShape(Shape, frozen=True, kw_only=True):
    """An event; an empty payload is null."""

    id: str
    name: str
    payload: bytes | None
    node_filter: str
    service_filter: str
    tag_filter: str
    version: int
    l_time: int


def _events(request: Request) -> Events:
    events: Events = request.parts.agent.operations.events
    return events


async def fire(request: Request) -> Reply:
    """Tell all agents, with the body as payload."""
    name = params.required(request, "name")
    event = Event(
        id=request.parts.dice.uuid(),
        name=name,
        payload=request.body,
        node_filter=request.param("node"),
        service_filter=request.param("service"),
        tag_filter=request.param("tag"),
    )
    if params.datacenter(request) in {"", request.options.datacenter}:
        return respond.json(_shape(_events(request).fire(event)))
    return respond.json(_shape(await _elsewhere(request, event)))


async def _elsewhere(request: Request, event: Event) -> Event:
    check(event)
    order = FireEvent(event.name, encode(event))
    options = params.order_to(request, "here")
    try:
        time = await request.parts.registry.operate(order, options)
    except TooLarge as error:
        raise too_large(event, error) from error
    return msgspec.structs.replace(event, time=time)


async def listed(request: Request) -> Reply:
    """The last events this agent heard, the oldest first; with `index`, once they are others."""
    events, name, (index, wait) = _events(request), request.param("name"), params.blocking(request)
    heard = asyncio.Event()
    end = events.listen(lambda _: heard.set())
    try:
        async with asyncio.timeout(wait):
            # The index tells events apart and nothing more: only an equal one means no news.
            while index and index_of(events.kept(name)) == index:
                await heard.wait()
                heard.clear()
    except TimeoutError:
        pass
    finally:
        end()
    found = events.kept(name)
    reply = respond.json([_shape(event) for event in found])
    reply.headers = {"X-Consul-Index": str(index_of(found))}
    return reply


def _shape(event: Event) -> EventShape:
    return EventShape(
        id=event.id,
        name=event.name,
        payload=event.payload or None,
        node_filter=event.node_filter,
        service_filter=event.service_filter,
        tag_filter=event.tag_filter,
        version=event.version,
        l_time=event.time,
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "PUT",
        "/v1/event/fire/:name",
        fire,
        "Tell something to all agents",
        params=(
            Param("node", "Only for nodes whose name matches this regular expression"),
            Param("service", "Only for nodes with a service that matches"),
            Param("tag", "Only for nodes with such a service whose tag matches"),
        ),
        body=bytes,
        answer=EventShape,
    ),
    Route(
        "GET",
        "/v1/event/list",
        listed,
        "The last events this agent heard",
        params=(Param("name", "Only events with this name"), *BLOCKING),
        answer=list[EventShape],
    ),
)
