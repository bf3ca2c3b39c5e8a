"""Services and checks as people write them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.agent.definitions import CheckDefinition, ServiceDefinition
from mesh.agent.reading import check_definition, service_definition
from mesh.codec import from_json, pack, to_json, unpack
from mesh.errors import Invalid
from mesh.registry.catalog import TaggedAddress, Weights

HTTP = {"HTTP": "http://127.0.0.1/", "Interval": "10s"}
NESTED: dict[str, Any] = {}
for _ in range(100):
    NESTED = {"a": NESTED}


def refusal(read: Any, **fields: Any) -> str:
    with pytest.raises(Invalid) as caught:
        read(fields)
    return caught.value.message


def test_both_spellings_are_the_same() -> None:
    camel = {
        "ID": "web1",
        "Name": "web",
        "TaggedAddresses": {"lan": {"Address": "10.0.0.9", "Port": 1}},
        "EnableTagOverride": True,
        "Weights": {"Passing": 3},
        "Check": {
            "CheckID": "c",
            "ScriptArgs": ["true"],
            "Interval": 10**10,
            "TLSServerName": "x",
            "DeregisterCriticalServiceAfter": "90s",
            "Header": {"A": "1", "B": ["2", "3"]},
        },
    }
    snake = {
        "id": "web1",
        "name": "web",
        "tagged_addresses": {"lan": {"address": "10.0.0.9", "port": 1}},
        "enable_tag_override": True,
        "weights": {"passing": 3},
        "checks": [
            {
                "id": "c",
                "args": ["true"],
                "interval": "10s",
                "tls_server_name": "x",
                "deregister_critical_service_after": "1m30s",
                "header": {"A": ["1"], "B": ["2", "3"]},
            }
        ],
    }
    read = service_definition(camel)
    assert read == service_definition(snake)
    assert read.tagged_addresses == {"lan": TaggedAddress("10.0.0.9", 1)}
    assert read.weights == Weights(3, 1)
    assert (read.checks[0].interval, read.checks[0].deregister_critical_service_after) == (10, 90)
    assert read.checks[0].kind == "script"


def test_a_single_block_is_a_list_of_one() -> None:
    sidecar = {
        "proxy": {
            "upstreams": {"destination_name": "db", "local_bind_port": 5001},
            "expose": {"paths": {"path": "/m", "local_path_port": 1, "listener_port": 2}},
        }
    }
    read = service_definition({"name": "web", "connect": {"sidecar_service": sidecar}})
    assert read.sidecar is not None
    assert read.sidecar.proxy == {
        "upstreams": [{"destination_name": "db", "local_bind_port": 5001}],
        "expose": {"paths": [{"path": "/m", "local_path_port": 1, "listener_port": 2}]},
        "DestinationServiceName": "web",
    }


def test_what_go_clients_send_empty_is_fine() -> None:
    service: dict[str, Any] = {
        "Name": "web",
        "Tags": None,
        "Check": {},
        "Checks": None,
        "Namespace": "",
    }
    assert service_definition(service).checks == []
    assert check_definition({"Name": "x", "TTL": "10s", "Interval": "", "Partition": ""}).ttl == 10


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"UDP": "127.0.0.1:53"}, "udp"),
        ({"GRPC": "[::1]:9000/a/b"}, "grpc"),
        ({"H2PING": "web.example:443"}, "h2ping"),
        ({"DockerContainerID": "f972", "Args": ["true"], "Shell": "/bin/sh"}, "docker"),
        ({"OSService": "nginx@1.service"}, "os_service"),
        ({"tcp": "[::1]:1", "tcp_use_tls": True}, "tcp"),
    ],
)
def test_kinds(fields: dict[str, Any], kind: str) -> None:
    assert check_definition({"Name": "x", "Interval": "10s"} | fields).kind == kind


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "needs one of HTTP"),
        ({"HTTP": "http://x/"}, "Interval: must be longer than 0s for http checks"),
        ({"Interval": "-1s", "HTTP": "http://x/"}, "Interval: must not be negative"),
        ({"TTL": "1s", "Interval": "1s"}, "TTL and Interval exclude each other"),
        ({"AliasService": "a", "TTL": "1s"}, "alias checks take none"),
        ({"HTTP": "x.org", "Interval": "1s"}, "HTTP: expected a URL such as http"),
        ({"TCP": "x.org", "Interval": "1s"}, "TCP: expected host:port"),
        ({"TCP": "::1:80", "Interval": "1s"}, "TCP: expected host:port"),
        ({"UDP": "x.org:0", "Interval": "1s"}, "UDP: expected host:port"),
        ({"H2PING": ":1", "Interval": "1s"}, "H2PING: expected host:port"),
        ({"GRPC": "x/y:1", "Interval": "1s"}, "GRPC: expected host:port or host:port/service"),
        ({"OSService": "-x", "Interval": "1s"}, "OSService: expected the name of a systemd"),
        ({"OSService": "x"}, "Interval: must be longer than 0s for os_service checks"),
        ({"DockerContainerID": "x", "Interval": "1s"}, "Args: a check in a Docker container"),
        ({"CheckID": "_cluster_maintenance", "TTL": "1s"}, "cluster-wide maintenance"),
        ({"TTL": "10"}, "TTL: expected a duration such as 30s"),
        ({"TTL": True}, "TTL: expected a duration"),
        (HTTP | {"Status": "good"}, "Status: expected one of passing, warning, critical"),
        (HTTP | {"FailuresBeforeWarning": 2}, "FailuresBeforeWarning: must not exceed"),
        ({"CheckID": "serfHealth", "TTL": "1s"}, "CheckID: serfHealth belongs to the servers"),
        ({"TTL": 10**400}, "TTL: holds a number beyond 64 bits"),
        ({"TTL": 1e300}, "TTL: expected at most 292 years"),
        (HTTP | {"OutputMaxSize": 2**63}, "OutputMaxSize: holds a number beyond 64 bits"),
        (HTTP | {"OutputMaxSize": -1}, "OutputMaxSize: must not be negative"),
        (HTTP | {"Nonsense": 1}, "unknown field Nonsense"),
        (HTTP | {"Namespace": "n"}, "unknown field Namespace"),
        (HTTP | {"Args": "true"}, "Args: Expected `array`, got `str`"),
    ],
)
def test_wrong_checks(fields: dict[str, Any], text: str) -> None:
    assert text in refusal(check_definition, Name="x", **fields)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"Name": ""}, "Name: a service needs a name"),
        ({"Address": "0.0.0.0"}, "Address: expected an address others can reach"),
        ({"Address": "::"}, "Address: expected an address others can reach"),
        ({"Port": 65536}, "Port: expected 0 to 65535"),
        ({"Weights": {"Passing": 0}}, "Weights: Passing is 1 to 65535"),
        ({"Weights": {"Heavy": 1}}, "Weights: unknown field Heavy"),
        ({"TaggedAddresses": {"lan_ipv4": {"Address": "::1"}}}, "expected an IPv4 address"),
        ({"TaggedAddresses": {"lan": {"Adress": "::1"}}}, "unknown field Adress"),
        ({"Meta": {"a b": "x"}}, 'got "a b"'),
        ({"Meta": {"consul-x": "x"}}, "reserved"),
        ({"Meta": {"x": "y" * 513}}, "the limit is 512"),
        ({"Meta": {f"k{n}": "" for n in range(65)}}, "the limit is 64"),
        ({"Kind": "proxy"}, "Kind: expected one of connect-proxy"),
        ({"Kind": "connect-proxy", "Port": 1}, "Proxy.DestinationServiceName"),
        ({"Kind": "mesh-gateway"}, "Port: a mesh-gateway needs one"),
        ({"Proxy": {"Config": {"a": [10**30]}}}, "Proxy: holds a number beyond 64 bits"),
        ({"Proxy": {"Config": math.nan}}, "Proxy: holds a number"),
        ({"Proxy": NESTED}, "nested too deeply"),
        ({"Connect": {"SidecarService": {"ID": "x"}}}, "Connect.SidecarService.ID: the agent"),
        ({"Connect": {"SidecarService": {"Prot": 1}}}, "unknown field Prot"),
        ({"Connect": {"SidecarService": 1}}, "Connect.SidecarService: expected the fields"),
        (
            {"Connect": {"SidecarService": {"Connect": {"SidecarService": {}}}}},
            "a sidecar has no sidecar of its own",
        ),
        (
            {"Kind": "mesh-gateway", "Port": 1, "Connect": {"SidecarService": {}}},
            "a mesh-gateway has no sidecar",
        ),
        ({"Kind": "mesh-gateway", "Port": 1, "Connect": {"Native": True}}, "Connect.Native"),
        ({"Check": "x"}, "Check: expected the fields of a check"),
        ({"Checks": [HTTP | {"CheckID": "a"}] * 2}, "the id a is there 2 times"),
    ],
)
def test_wrong_services(fields: dict[str, Any], text: str) -> None:
    assert text in refusal(service_definition, **({"Name": "web"} | fields))


def test_every_problem_is_told_at_once() -> None:
    text = refusal(
        service_definition,
        Name="web",
        Prot=80,
        Port="80",
        Address="0.0.0.0",
        Check={"CheckID": "c", "HTTP": "x", "Interval": "10"},
    )
    assert [problem.partition(" such as")[0] for problem in text.split("; ")] == [
        'service "web": unknown field Prot',
        'service "web": Port: Expected `int`, got `str`',
        'service "web": Address: expected an address others can reach, got 0.0.0.0',
        'check "c": Interval: expected a duration',
        'check "c": HTTP: expected a URL',
    ]


def test_the_check_of_the_servers_cannot_be_taken_by_name() -> None:
    assert "belongs to the servers" in refusal(check_definition, Name="serfHealth", TTL="1s")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


def fields_of(kind: type[msgspec.Struct], right: dict[str, Any]) -> st.SearchStrategy[Any]:
    """A definition that is right, but for some fields that hold anything."""
    names = st.sampled_from(kind.__struct_fields__)
    return st.dictionaries(names, ANYTHING, max_size=4).map(lambda wrong: right | wrong)


def survives(read: Callable[[Any], Any], given_fields: Any) -> None:
    try:
        definition = read(given_fields)
    except Invalid:
        return
    kind = type(definition)
    assert unpack(pack(definition), kind) == definition
    assert from_json(to_json(definition), kind) == definition


@given(fields_of(CheckDefinition, {"name": "x", "ttl": "10s"}))
def test_any_check_is_refused_or_can_be_kept_and_sent(fields: Any) -> None:
    survives(check_definition, fields)


@given(fields_of(ServiceDefinition, {"name": "x"}))
def test_any_service_is_refused_or_can_be_kept_and_sent(fields: Any) -> None:
    survives(service_definition, fields)
