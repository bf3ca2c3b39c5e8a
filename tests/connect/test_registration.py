from __future__ import annotations

from typing import Any

import pytest

from mesh.connect.registration import Expose, Path, Proxy, Upstream, problems, read
from mesh.errors import Invalid


def test_both_spellings_are_read_and_what_is_opaque_stays() -> None:
    camel = {
        "DestinationServiceName": "web",
        "LocalServicePort": 8080,
        "Config": {"local_connect_timeout_ms": 5, "Protocol": "http"},
        "Upstreams": [{"DestinationName": "db", "LocalBindPort": 9191, "Config": {"Connect_X": 1}}],
        "Expose": {"Paths": [{"Path": "/health", "LocalPathPort": 1, "ListenerPort": 2}]},
    }
    snake = {
        "destination_service_name": "web",
        "local_service_port": "8080",
        "config": camel["Config"],
        "upstreams": [
            {"destination_name": "db", "local_bind_port": 9191, "config": {"Connect_X": 1}}
        ],
        "expose": {"paths": [{"path": "/health", "local_path_port": 1, "listener_port": 2}]},
        "mode": None,
    }
    wanted = Proxy(
        destination_service_name="web",
        local_service_port=8080,
        config={"local_connect_timeout_ms": 5, "Protocol": "http"},
        upstreams=[Upstream(destination_name="db", local_bind_port=9191, config={"Connect_X": 1})],
        expose=Expose(paths=[Path(path="/health", local_path_port=1, listener_port=2)]),
    )
    assert read(camel) == read(snake) == wanted
    assert problems(camel) == problems(snake) == []


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ({"upstreams": [{"local_bind_port": "x"}]}, "Proxy.Upstreams[0].LocalBindPort: expected"),
        ({"Upstreams": 5}, "Proxy.Upstreams: expected"),
        ({"Upstreams": {"LocalBindPort": 5}}, "Proxy.Upstreams[0].DestinationName: which"),
        ({"upstreams": [{"local_bind_port": 1}]}, "Proxy.Upstreams[0].DestinationName: which"),
        (
            {"upstreams": [{"destination_name": "*", "local_bind_port": 1}]},
            "Proxy.Upstreams[0].DestinationName: expected one service",
        ),
        (
            {"upstreams": [{"destination_name": "db"}]},
            "Proxy.Upstreams[0].LocalBindPort: expected 1 to 65535",
        ),
        (
            {
                "upstreams": [
                    {"destination_name": "db", "local_bind_port": 1},
                    {"destination_name": "web", "local_bind_port": 1},
                ]
            },
            "Proxy.Upstreams[1].LocalBindPort: taken by Proxy.Upstreams[0]",
        ),
        (
            {
                "upstreams": [
                    {"destination_name": "a", "local_bind_socket_path": "/s", "local_bind_port": 1}
                ]
            },
            "Proxy.Upstreams[0].LocalBindSocketPath: leave out",
        ),
        (
            {
                "upstreams": [
                    {"destination_name": "a", "local_bind_port": 1, "local_bind_address": "host"}
                ]
            },
            'Proxy.Upstreams[0].LocalBindAddress: expected an IP address, got "host"',
        ),
        (
            {
                "upstreams": [
                    {"destination_name": "a", "local_bind_port": 1, "destination_type": "x"}
                ]
            },
            'Proxy.Upstreams[0].DestinationType: expected service or prepared_query, got "x"',
        ),
        (
            {
                "upstreams": [
                    {
                        "destination_name": "a",
                        "local_bind_socket_path": "/s",
                        "local_bind_socket_mode": "rw",
                    }
                ]
            },
            "Proxy.Upstreams[0].LocalBindSocketMode: expected permissions",
        ),
        ({"local_service_port": 65536}, "Proxy.LocalServicePort: expected 0 to 65535, got 65536"),
        (
            {"expose": {"paths": [{"path": "x", "listener_port": 1, "local_path_port": 1}]}},
            'Proxy.Expose.Paths[0].Path: expected a path that begins with /, got "x"',
        ),
        (
            {"expose": {"paths": [{"path": "/", "listener_port": 0, "local_path_port": 1}]}},
            "Proxy.Expose.Paths[0].ListenerPort: expected 1 to 65535, got 0",
        ),
    ],
)
def test_problems_name_the_field(block: dict[str, Any], problem: str) -> None:
    found = problems(block)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(Invalid, match=r"Proxy\.Expose\.Checks: expected"):
        read({"expose": {"checks": "perhaps"}})
