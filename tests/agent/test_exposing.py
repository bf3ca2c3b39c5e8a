"""Checks that go through the sidecar of their service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh.agent.definitions import CheckDefinition
from mesh.agent.exposing import Exposing, exposed, led
from mesh.connect.xds.blueprint import Exposed
from tests.agent.conftest import World


@pytest.mark.parametrize(
    ("check", "path", "port", "protocol"),
    [
        ({"http": "http://10.0.0.1:8080/health?deep=1"}, "/health", 8080, "http"),
        ({"http": "http://host"}, "/", 80, "http"),
        ({"grpc": "10.0.0.1:9000/till"}, "/grpc.health.v1.Health/Check", 9000, "http2"),
        ({"grpc": "[::1]:9000"}, "/grpc.health.v1.Health/Check", 9000, "http2"),
    ],
)
def test_what_has_to_be_open_for_a_check(
    check: dict[str, Any], path: str, port: int, protocol: Any
) -> None:
    wanted = Exposed(
        path=path, local_port=port, listener_port=0, protocol=protocol, for_checks=True
    )
    assert exposed(CheckDefinition(**check)) == wanted


@pytest.mark.parametrize(
    "check",
    [
        {"http": "https://10.0.0.1/health"},
        {"http": "http://10.0.0.1:x/health"},
        {"grpc": "10.0.0.1:9000", "grpc_use_tls": True},
        {"grpc": "10.0.0.1"},
        {"tcp": "10.0.0.1:80"},
        {"ttl": 10.0},
    ],
)
def test_the_rest_goes_straight(check: dict[str, Any]) -> None:
    assert exposed(CheckDefinition(**check)) is None


def test_only_the_place_of_a_check_changes() -> None:
    http = CheckDefinition(http="http://10.0.0.1:8080/a%20b?c=d", method="PUT")
    assert led(http, "") is http
    found = led(http, "127.0.0.1:21500")
    assert (found.http, found.method) == ("http://127.0.0.1:21500/a%20b?c=d", "PUT")
    grpc = CheckDefinition(grpc="10.0.0.1:9000/till")
    assert led(grpc, "[::1]:21500").grpc == "[::1]:21500/till"
    assert led(CheckDefinition(grpc="10.0.0.1:9000"), "h:1").grpc == "h:1"


Make = Callable[..., World]


def check(world: World, name: str) -> None:
    world.check(name=name, service_id="web", interval="10s", http="http://127.0.0.1:8080/")


def with_checks(make: Make, *names: str) -> World:
    world = make(expose_ports=(21500, 21501))
    world.service(name="web", port=8080)
    for name in names:
        check(world, name)
    return world


def ports(world: World) -> dict[str, int]:
    return {name: one.row.exposed_port for name, one in world.agent.checks().items()}


def told(exposing: Exposing, *taken: int) -> list[int]:
    return [one.listener_port for one in exposing.through("p", "web", taken)]


async def test_checks_go_through_once_the_ports_are_open(world: Make) -> None:
    made = with_checks(world, "a", "b")
    exposing = Exposing(made.agent)
    assert told(exposing) == [21500, 21501]
    assert ports(made) == {"a": 0, "b": 0}
    exposing.opened("p", "::1", {21501})
    assert ports(made) == {"a": 0, "b": 21501}
    exposing.opened("p", "::1", {21500})
    assert ports(made) == {"a": 21500, "b": 21501}
    assert made.agent.checks()["a"].through == "[::1]:21500"
    exposing.end("p")
    assert ports(made) == {"a": 0, "b": 0}
    assert not made.agent.checks()["a"].through


async def test_a_check_keeps_its_port_and_leaves_it_to_others_when_it_goes(world: Make) -> None:
    made = with_checks(world, "b")
    exposing = Exposing(made.agent)
    assert told(exposing) == [21500]
    check(made, "a")
    assert told(exposing) == [21501, 21500]
    made.agent.deregister_check("b")
    check(made, "c")
    told(exposing)
    exposing.opened("p", "127.0.0.1", {21500, 21501})
    assert ports(made) == {"a": 21501, "c": 21500}


async def test_a_check_for_which_no_port_is_left_goes_straight(
    world: Make, caplog: pytest.LogCaptureFixture
) -> None:
    exposing = Exposing(with_checks(world, "a", "b").agent)
    assert told(exposing, 21500) == [21501]
    assert "ports.expose_max_port 21501 is in use" in caplog.text
