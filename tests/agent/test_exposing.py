"""Checks that go through the sidecar of their service."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.agent.definitions import CheckDefinition
from mesh.agent.exposing import exposed, led
from mesh.connect.xds.blueprint import Exposed


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
