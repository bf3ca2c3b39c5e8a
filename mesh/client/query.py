"""Calls about prepared queries: define them, and ask what they find."""

from __future__ import annotations

from typing import Any

import msgspec

from mesh import codec
from mesh.client.call import (
    Answer,
    Call,
    ReadOptions,
    Response,
    answer,
    blocking_seconds,
    decode_json,
    path_of,
    reading,
    writing,
)
from mesh.client.shapes import Instance, Shape

LATEST = ReadOptions()


class Template(Shape, frozen=True):
    """Makes a definition one of every name that begins with its own."""

    type: str = ""
    """`name_prefix_match`; empty for none."""
    regexp: str = ""
    """What `${match(n)}` takes parts of the name by."""
    remove_empty_tags: bool = False


class Target(Shape, frozen=True):
    """Where to look when there is no instance here."""

    datacenter: str = ""


class Failover(Shape, frozen=True):
    """Which datacenters to ask when there is no instance here."""

    nearest_n: int = 0
    """So many of the nearest first,"""
    datacenters: list[str] = []
    """then these."""
    targets: list[Target] = []
    """Instead of both: these, in order."""


class ServiceQuery(Shape, frozen=True):
    """Which instances of which service."""

    service: str = ""
    failover: Failover = Failover()
    only_passing: bool = False
    """Leave out those with a warning, as critical ones always are."""
    ignore_check_ids: list[str] = msgspec.field(name="IgnoreCheckIDs", default_factory=list)
    near: str = ""
    """The nearest to this node first; `_agent` is the agent asked, `_ip` whoever asks."""
    tags: list[str] = []
    """Tags that an instance must have, or, after a `!`, must not have."""
    node_meta: dict[str, str] = {}
    service_meta: dict[str, str] = {}
    connect: bool = False
    """Its sidecars, and those instances that need none."""


class Dns(Shape, frozen=True):
    """How DNS answers."""

    ttl: str = msgspec.field(default="", name="TTL")
    """A duration such as `10s`; empty for the service's."""


class Definition(Shape, frozen=True):
    """A prepared query."""

    id: str = ""
    name: str = ""
    session: str = ""
    """The session with which it ends."""
    token: str = ""
    """Shown as `<hidden>`; sent so, it stays what it is."""
    template: Template = Template()
    service: ServiceQuery = ServiceQuery()
    dns: Dns = msgspec.field(default=Dns(), name="DNS")
    create_index: int = 0
    modify_index: int = 0


class Execution(Shape, frozen=True):
    """What a prepared query finds."""

    service: str = ""
    nodes: list[Instance] = []
    """In the order in which they should be tried."""
    dns: Dns = msgspec.field(default=Dns(), name="DNS")
    datacenter: str = ""
    """Where they are."""
    failovers: int = 0
    """How many other datacenters were asked."""


class _Made(Shape, frozen=True):
    id: str


class _Explained(Shape, frozen=True):
    query: Definition


def create(definition: Definition | dict[str, Any], *, datacenter: str = "") -> Call[str]:
    """Create one, and learn its id. A dict has the API's names."""
    return Call(
        method="POST",
        path="/v1/query",
        decode=lambda response: decode_json(response.body, _Made).id,
        params=(("dc", datacenter),) if datacenter else (),
        body=codec.to_json(definition),
    )


def update(
    identity: str, definition: Definition | dict[str, Any], *, datacenter: str = ""
) -> Call[None]:
    """Replace one that exists."""
    params = (("dc", datacenter),) if datacenter else ()
    return writing(path_of("query", identity), params, codec.to_json(definition))


def delete(identity: str, *, datacenter: str = "") -> Call[None]:
    """Delete one that exists."""
    return Call(
        method="DELETE",
        path=path_of("query", identity),
        decode=lambda _: None,
        params=(("dc", datacenter),) if datacenter else (),
    )


def listed(options: ReadOptions = LATEST) -> Call[Answer[list[Definition]]]:
    """All of them, ordered by id."""
    return reading("/v1/query", list[Definition], options)


def get(identity: str, options: ReadOptions = LATEST) -> Call[Answer[Definition | None]]:
    """One by its id, or None."""

    def decode(response: Response) -> Answer[Definition | None]:
        found = decode_json(response.body, list[Definition]) if response.status == 200 else []
        return answer(response, found[0] if found else None)

    return Call(
        method="GET",
        path=path_of("query", identity),
        decode=decode,
        params=options.params(),
        accepts=(200, 404),
        wait_seconds=blocking_seconds(options),
    )


def execute(name: str, *, limit: int = 0, options: ReadOptions = LATEST) -> Call[Answer[Execution]]:
    """What the query with this id or name finds; `near` of the options goes before its own."""
    params = (("limit", str(limit)),) if limit else ()
    return reading(f"{path_of('query', name)}/execute", Execution, options, params)


def explain(name: str, options: ReadOptions = LATEST) -> Call[Definition]:
    """What the query is for this name, templates rendered."""
    return Call(
        method="GET",
        path=f"{path_of('query', name)}/explain",
        decode=lambda response: decode_json(response.body, _Explained).query,
        params=options.params(),
    )
