"""Calls of the catalog: nodes, services and datacenters; register and deregister anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mesh import codec
from mesh.client.call import (
    Answer,
    Call,
    ReadOptions,
    Response,
    answer,
    blocking_seconds,
    deciding,
    decode_json,
    path_of,
    reading,
)
from mesh.client.shapes import Node, NodeServices, ServiceNode

LATEST = ReadOptions()


def nodes(options: ReadOptions = LATEST) -> Call[Answer[list[Node]]]:
    """Every node."""
    return reading("/v1/catalog/nodes", list[Node], options)


def services(options: ReadOptions = LATEST) -> Call[Answer[dict[str, list[str]]]]:
    """Every service name with the tags of its instances."""
    return reading("/v1/catalog/services", dict[str, list[str]], options)


def service(
    name: str, tags: Iterable[str] = (), options: ReadOptions = LATEST
) -> Call[Answer[list[ServiceNode]]]:
    """The instances of a service that have all the tags, healthy or not."""
    params = [("tag", tag) for tag in tags]
    return reading(path_of("catalog/service", name), list[ServiceNode], options, params)


def node(name: str, options: ReadOptions = LATEST) -> Call[Answer[NodeServices | None]]:
    """A node, by name or by the start of its id, and its instances; None when there is none."""

    def decode(response: Response) -> Answer[NodeServices | None]:
        found = decode_json(response.body, NodeServices)
        return answer(response, found if found.node else None)

    return Call(
        method="GET",
        path=path_of("catalog/node-services", name),
        decode=decode,
        params=options.params(),
        wait_seconds=blocking_seconds(options),
    )


def datacenters() -> Call[Answer[list[str]]]:
    """The names of all datacenters, nearest first."""
    return reading("/v1/catalog/datacenters", list[str], LATEST)


def register(registration: Mapping[str, Any]) -> Call[bool]:
    """Write a node, an instance and checks, in the shape of `/v1/catalog/register`.

    For things no agent looks after. What runs beside an agent is registered with the agent.
    """
    return deciding("PUT", "/v1/catalog/register", body=codec.to_json(registration))


def deregister(node: str, *, service_id: str = "", check_id: str = "") -> Call[bool]:
    """Delete an instance, else a check, else the whole node. What does not exist is fine."""
    fields = {"Node": node, "ServiceID": service_id, "CheckID": check_id}
    body = {name: value for name, value in fields.items() if value}
    return deciding("PUT", "/v1/catalog/deregister", body=codec.to_json(body))
