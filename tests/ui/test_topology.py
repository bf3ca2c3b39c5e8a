"""Edges of the topology, as intentions decide them."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.registry.catalog import Register
from mesh.registry.entries import Set
from mesh.registry.intentions import Matching
from mesh.registry.kinds import written
from mesh.registry.nodes import Node
from mesh.registry.services import Service
from mesh.registry.topology import Neighbours, Topology
from mesh.ui.topology import Edge, downstreams, edge, upstreams
from tests.registry.world import World

GET = {"Action": "allow", "HTTP": {"PathPrefix": "/v1", "Methods": ["GET"]}}
"""A permission."""


def intentions(world: World, destination: str, *sources: dict[str, Any], **more: Any) -> None:
    kind = "service-intentions"
    body = written(kind, destination, {"Sources": list(sources)} | more)
    world.do(Set(kind=kind, name=destination, body=body))


def http(world: World, name: str) -> None:
    kind = "service-defaults"
    world.do(Set(kind=kind, name=name, body=written(kind, name, {"Protocol": "http"})))


def judged(world: World, *, http: bool = False, default_allow: bool = True) -> Edge:
    policy = world.ask(Matching("db"))
    return edge(policy, "web", "db", http=http, default_allow=default_allow)


def instance(world: World, name: str, mode: str = "", upstreams: tuple[str, ...] = ()) -> None:
    """A service with its sidecar."""
    proxy = {
        "DestinationServiceName": name,
        "Mode": mode,
        "Upstreams": [{"DestinationName": one} for one in upstreams],
    }
    sidecar = Service(
        node="n1", id=f"{name}-proxy", name=f"{name}-proxy", kind="connect-proxy", proxy=proxy
    )
    for row in (Service(node="n1", id=name, name=name), sidecar):
        world.do(Register(Node(name="n1"), service=row, skip_node_update=True))


def near(world: World, name: str, *, default_allow: bool = True) -> tuple[list[Any], list[Any]]:
    found: Neighbours = world.ask(Topology(name))
    return tuple(  # type: ignore[return-value]
        [(one.summary.name, one.source, one.edge.verdict) for one in side]
        for side in (
            upstreams(found, name, default_allow=default_allow),
            downstreams(found, name, default_allow=default_allow),
        )
    )


@pytest.mark.parametrize("allow", [True, False])
def test_without_an_intention_the_default_decides(allow: bool) -> None:
    found = judged(World(), default_allow=allow)
    assert (found.allowed, found.verdict) == (allow, "allow" if allow else "deny")
    assert (found.intention, found.entry, found.exact) == (None, "", False)


def test_the_intention_that_decides_is_named() -> None:
    world = World()
    intentions(world, "*", {"Name": "*", "Action": "deny"})
    found = judged(world)
    assert (found.verdict, found.exact) == ("deny", False)
    intentions(world, "db", {"Name": "web", "Action": "allow"})
    found = judged(world, default_allow=False)
    assert (found.verdict, found.exact) == ("allow", True)
    assert found.entry == "service-intentions/db Sources[web]"
    assert "allow" in found.rule


def test_permissions_depend_on_the_request_where_requests_are_looked_at() -> None:
    world = World()
    http(world, "db")
    intentions(world, "db", {"Name": "web", "Permissions": [GET]})
    found = judged(world, http=True)
    assert (found.verdict, found.allowed) == ("requests", False)
    assert found.permissions == ["allow GET, path prefix /v1"]
    assert judged(world).verdict == "deny"


def test_sidecars_say_who_calls_whom_and_what_decides_it() -> None:
    world = World()
    instance(world, "web", upstreams=("db", "gone"))
    instance(world, "db")
    intentions(world, "db", {"Name": "web", "Action": "deny"})
    registered = "proxy-registration"
    assert near(world, "web") == (
        [("db", registered, "deny"), ("gone", registered, "allow")],
        [],
    )
    assert near(world, "DB") == ([], [("web", registered, "deny")])


def test_transparent_sidecars_reach_all_that_is_not_denied() -> None:
    world = World()
    instance(world, "web", "transparent", upstreams=("db",))
    for name in ("db", "api", "cache"):
        instance(world, name)
    intentions(world, "api", {"Name": "web", "Action": "allow"})
    intentions(world, "cache", {"Name": "*", "Action": "deny"})
    assert near(world, "web", default_allow=False)[0] == [
        ("db", "proxy-registration", "deny"),
        ("api", "specific-intention", "allow"),
    ]
    intentions(world, "cache", {"Name": "*", "Action": "allow"})
    assert near(world, "cache")[1] == [("web", "wildcard-intention", "allow")]
    assert near(world, "api")[1] == [("web", "specific-intention", "allow")]
    instance(world, "mail")
    assert near(world, "mail")[1] == [("web", "default-allow", "allow")]
    assert near(world, "mail", default_allow=False)[1] == []
