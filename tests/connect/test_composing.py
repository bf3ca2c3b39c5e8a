"""What a sidecar is told follows from what was registered, from entries and from health."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from mesh.connect.composing import Facts, Place, Reached, compose, endpoints, names_of
from mesh.connect.credentials import Bundle
from mesh.connect.registration import read
from mesh.connect.xds.blueprint import Blueprint, Endpoint
from mesh.registry import settings
from mesh.registry.catalog import SERF_HEALTH, Check, Node, Service, Weights
from mesh.registry.health import Instance
from mesh.registry.intentions import Policy
from mesh.registry.settings import Limits, PassiveCheck

PLACE = Place(node="n1", datacenter="dc1", bind="127.0.0.9", addresses=("127.0.0.9",))


def instance(port: int, status: str = "passing", serf: str = "passing", **fields: Any) -> Instance:
    node = Node(name=f"n{port}", address="10.0.0.1")
    checks = [
        Check(node=node.name, id=SERF_HEALTH, status=serf),
        Check(node=node.name, id="own", service_id="db", status=status),
    ]
    return Instance(node, Service(node=node.name, id="db", name="db", port=port, **fields), checks)


def made(
    proxy: dict[str, Any] | None = None,
    central: settings.Settings | None = None,
    upstream: settings.Settings | None = None,
    instances: list[Instance] | None = None,
) -> Blueprint:
    block = {"destination_service_name": "web", "local_service_port": 80} | (proxy or {})
    definition = read(block)
    facts = Facts(
        bundle=Bundle("d.consul", {"r": "PEM"}, "r"),
        leaf=None,
        settings=central or settings.Settings(service="web"),
        mesh=settings.MeshSettings(),
        policy=Policy(destination="web"),
        providers=[],
        upstreams={
            name: Reached(upstream or settings.Settings(service=name), instances or [])
            for name in names_of(definition)
        },
    )
    row = Service(node="n1", id="web-sidecar-proxy", name="web-sidecar-proxy", port=21000)
    found, problems = compose(row, definition, PLACE, facts)
    PROBLEMS[:] = problems
    return found


PROBLEMS: list[str] = []
"""Of what was composed last."""
DB = {"destination_name": "db", "local_bind_port": 9191}


def test_a_sidecar_listens_where_its_node_does_and_asks_its_own_machine() -> None:
    inbound = made().inbound
    assert inbound is not None
    assert (inbound.address, inbound.port) == ("127.0.0.9", 21000)
    assert (inbound.local_address, inbound.local_port) == ("127.0.0.1", 80)
    other = made({"config": {"bind_address": "10.1.1.1", "bind_port": 7}}).inbound
    assert other is not None
    assert (other.address, other.port) == ("10.1.1.1", 7)


def test_what_the_registration_says_goes_before_what_entries_say() -> None:
    central = settings.Settings(service="web", protocol="http", request_seconds=7.0)
    plain = made(central=central).inbound
    own = made({"config": {"protocol": "grpc", "local_request_timeout_ms": 0}}, central).inbound
    assert plain is not None
    assert own is not None
    assert (plain.protocol, plain.request_seconds) == ("http", 7.0)
    assert (own.protocol, own.request_seconds) == ("grpc", 0.0)


def test_an_upstream_speaks_what_its_service_does_within_the_limits_of_both() -> None:
    central = settings.Settings(
        service="web",
        upstream_defaults=settings.Upstream(
            limits=settings.Limits(connections=3, pending=4),
            passive=settings.PassiveCheck(max_failures=9),
        ),
    )
    own = {"limits": {"MaxConnections": 5}, "connect_timeout_ms": 250}
    found = made(
        {"upstreams": [DB | {"config": own}]},
        central,
        settings.Settings(service="db", protocol="http2"),
        [instance(1)],
    ).upstreams[0]
    assert found.protocol == "http2"
    assert found.limits == Limits(connections=5, pending=4)
    assert found.passive == PassiveCheck(max_failures=9)
    assert found.connect_seconds == 0.25
    assert found.endpoints == [Endpoint("10.0.0.1", 1)]


def test_health_and_weights_of_endpoints_are_those_of_the_catalog() -> None:
    weights = Weights(passing=300, warning=2)
    found = endpoints(
        [
            instance(1, weights=weights),
            instance(2, "warning", weights=weights, address="10.0.0.2"),
            instance(3, "critical"),
            instance(4, serf="critical"),
        ]
    )
    assert found == [
        Endpoint("10.0.0.1", 1, healthy=True, weight=128),
        Endpoint("10.0.0.2", 2, healthy=True, weight=2),
        Endpoint("10.0.0.1", 3, healthy=False),
        Endpoint("10.0.0.1", 4, healthy=False),
    ]


def test_an_instance_without_an_address_that_envoy_takes_is_left_out() -> None:
    found = endpoints([instance(1), instance(2, address="web1.corp"), instance(0)])
    assert found == [Endpoint("10.0.0.1", 1)]


def test_what_cannot_be_reached_yet_is_said() -> None:
    for more in ({"datacenter": "dc2"}, {"destination_type": "prepared_query"}):
        found = made({"upstreams": [DB | more]})
        assert (found.upstreams, len(PROBLEMS)) == ([], 1)
        assert PROBLEMS[0].startswith("Proxy.Upstreams[db]: ")


def test_durations_of_a_passive_check_are_texts_or_nanoseconds() -> None:
    check = {"Interval": "22s", "BaseEjectionTime": 2_000_000_000}
    passive = made({"upstreams": [DB | {"config": {"passive_health_check": check}}]})
    assert passive.upstreams[0].passive == PassiveCheck(
        interval_seconds=22.0, base_ejection_seconds=2.0
    )


def test_the_last_instances_are_tried_though_their_agents_are_not_heard() -> None:
    found = endpoints([instance(1, serf="critical"), instance(2, "critical", "critical")])
    assert [one.healthy for one in found] == [True, False]


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ({"config": {"protocol": "smtp"}}, r"Proxy\.Config\.protocol: expected tcp, http"),
        ({"config": {"bind_port": "x"}}, r"Proxy\.Config\.bind_port: expected a number"),
        ({"config": {"bind_address": 5}}, r"Proxy\.Config\.bind_address: expected text"),
        (
            {"upstreams": [DB | {"config": {"limits": 5}}]},
            r"Proxy\.Upstreams\[db\]\.Config\.limits: expected an object",
        ),
        (
            {"upstreams": [DB | {"config": {"limits": {"max_connections": -1}}}]},
            r"Config\.limits\.max_connections: expected a number from 0",
        ),
    ],
)
def test_options_at_fault_are_named_and_count_as_not_given(
    proxy: dict[str, Any], message: str
) -> None:
    found = made(proxy, settings.Settings(service="web", protocol="http"))
    assert len(PROBLEMS) == 1
    assert re.search(message, PROBLEMS[0])
    assert found.inbound is not None
    assert (found.inbound.protocol, found.inbound.port) == ("http", 21000)
    assert found.policy == Policy(destination="web")


def test_equal_facts_give_equal_blueprints() -> None:
    block = {"upstreams": [DB]}
    first, second = (made(block, instances=[instance(1)]) for _ in range(2))
    assert first == second
    assert msgspec.json.encode(first) == msgspec.json.encode(second)
