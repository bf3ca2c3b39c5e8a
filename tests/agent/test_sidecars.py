"""Sidecars: what a definition that asks for one comes to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mesh.agent.reading import service_definition
from mesh.agent.reloading import reload
from mesh.agent.sidecars import free_port
from mesh.errors import Invalid
from tests.agent.conftest import World, options, until

Make = Callable[..., World]
ASKS: dict[str, Any] = {"Connect": {"SidecarService": {}}}


def test_what_it_takes_from_its_service(world: Make) -> None:
    made = world()
    made.service(Name="web", ID="web1", Port=80, Tags=["a"], Meta={"x": "y"}, **ASKS)
    sidecar = made.agent.services()["web1-sidecar-proxy"].row
    assert (sidecar.name, sidecar.kind) == ("web-sidecar-proxy", "connect-proxy")
    assert (sidecar.port, sidecar.tags, sidecar.meta) == (21000, ["a"], {"x": "y"})
    assert sidecar.proxy == {
        "DestinationServiceName": "web",
        "DestinationServiceID": "web1",
        "LocalServiceAddress": "127.0.0.1",
        "LocalServicePort": 80,
    }
    checks = {name: check.row for name, check in made.agent.checks().items()}
    listening = checks["service:web1-sidecar-proxy:1"]
    assert (listening.name, listening.kind) == ("Connect Sidecar Listening", "tcp")
    assert (listening.interval, listening.service_id) == ("10s", "web1-sidecar-proxy")
    assert checks["service:web1-sidecar-proxy:2"].name == "Connect Sidecar Aliasing web1"
    assert made.agent.services()["web1"].row.connect == {}


def test_ports_are_the_lowest_free_ones_and_stay(world: Make) -> None:
    made = world(sidecar_ports=(21000, 21002))
    made.service(Name="other", Port=21000)
    made.service(Name="a", **ASKS)
    made.service(Name="b", **ASKS)
    assert made.agent.services()["a-sidecar-proxy"].row.port == 21001
    made.agent.deregister_service("other")
    made.service(Name="a", Tags=["new"], **ASKS)
    assert made.agent.services()["a-sidecar-proxy"].row.port == 21001
    assert made.agent.services()["b-sidecar-proxy"].row.port == 21002
    made.service(Name="c", **ASKS)
    with pytest.raises(Invalid, match="every port from 21000 to 21002 is in use"):
        made.service(Name="d", **ASKS)
    assert "d" not in made.agent.services()
    with pytest.raises(Invalid):
        free_port((), (-1, -1))


def test_what_it_says_itself_holds(world: Make) -> None:
    made = world()
    own = {
        "Port": 20000,
        "Tags": ["p"],
        "Proxy": {
            "LocalServicePort": 81,
            "Upstreams": [{"DestinationName": "db", "LocalBindPort": 9191}],
        },
        "Checks": [{"Name": "c", "TTL": "1m"}],
    }
    made.service(Name="web", Port=80, connect={"sidecar_service": own})
    sidecar = made.agent.services()["web-sidecar-proxy"].row
    assert (sidecar.port, sidecar.tags, sidecar.proxy["LocalServicePort"]) == (20000, ["p"], 81)
    assert list(made.agent.checks()) == ["service:web-sidecar-proxy"]


async def test_it_goes_with_its_service_and_comes_back_after_a_restart(
    world: Make, tmp_path: Path
) -> None:
    made = world(data_dir=str(tmp_path))
    made.service(Name="web", **ASKS)
    again = world(data_dir=str(tmp_path))
    await again.agent.start()
    assert sorted(again.agent.checks()) == [
        "service:web-sidecar-proxy:1",
        "service:web-sidecar-proxy:2",
    ]
    assert sorted(again.agent.services()) == ["web", "web-sidecar-proxy"]
    again.agent.deregister_service("web")
    assert not again.agent.services()
    assert not again.agent.checks()
    assert not world(data_dir=str(tmp_path)).agent.services()


def test_a_reload_adds_changes_and_removes_it(world: Make) -> None:
    made = world()
    with_one = service_definition({"name": "web", "port": 80, "connect": {"sidecar_service": {}}})
    assert list(map(str, reload(made.agent, options(), [with_one], []))) == [
        "service web added",
        "service web-sidecar-proxy added",
        "check service:web-sidecar-proxy:1 added",
        "check service:web-sidecar-proxy:2 added",
    ]
    assert reload(made.agent, options(), [with_one], []) == []
    without = service_definition({"name": "web", "port": 80})
    assert list(map(str, reload(made.agent, options(), [without], []))) == [
        "service web-sidecar-proxy removed",
        "check service:web-sidecar-proxy:1 removed",
        "check service:web-sidecar-proxy:2 removed",
    ]


async def test_its_alias_follows_the_service(world: Make) -> None:
    made = world()
    made.service(Name="web", Check={"TTL": "1h", "Status": "passing"}, **ASKS)
    await made.agent.start()
    alias = "service:web-sidecar-proxy:2"
    await until(lambda: made.status(alias) == "passing")
    made.agent.update_ttl("service:web", "critical", "down")
    await until(lambda: made.status(alias) == "critical")
