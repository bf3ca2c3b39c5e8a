"""What gRPC programs without a sidecar are told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from mesh.connect.credentials import Bundle
from mesh.connect.xds import messages
from mesh.connect.xds.blueprint import Endpoint, Proxyless
from mesh.connect.xds.proxyless import RULES, build
from mesh.connect.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Snapshot
from mesh.registry.intentions import Intention, JwtNeed, Permission, Policy

BASE = Proxyless(
    proxy="grpc:web",
    service="web",
    node="node-1",
    datacenter="dc1",
    bundle=Bundle("td.consul", {"root": "ROOT"}, "root"),
    targets={"payments": [Endpoint("10.0.0.1", 1), Endpoint("10.0.0.2", 2, healthy=False)]},
    served=["127.0.0.1:50051", "[::1]:50051"],
    policy=Policy(
        destination="web", intentions=[Intention(source="api", destination="web", action="deny")]
    ),
)
CLUSTER_NAME = "payments.default.dc1.internal.td.consul"


def told(found: Snapshot, kind: str, name: str) -> dict[str, Any]:
    return messages.readable(found.of(kind)[name])


def test_a_service_that_is_called_has_what_grpc_needs() -> None:
    found = build(BASE)
    listener = told(found, LISTENER, "payments")["api_listener"]["api_listener"]
    route = listener["route_config"]["virtual_hosts"][0]["routes"][0]
    assert route["route"]["cluster"] == CLUSTER_NAME
    assert [one["name"] for one in listener["http_filters"]] == ["envoy.filters.http.router"]
    cluster = told(found, CLUSTER, CLUSTER_NAME)
    context = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    assert context["tls_certificate_provider_instance"] == {"instance_name": "mesh"}
    assert context["validation_context"]["match_subject_alt_names"] == [
        {"exact": "spiffe://td.consul/ns/default/dc/dc1/svc/payments"}
    ]
    locality = told(found, ENDPOINTS, CLUSTER_NAME)["endpoints"][0]
    assert (locality["locality"], locality["load_balancing_weight"]) == ({"region": "dc1"}, 1)
    states = [one["health_status"] for one in locality["lb_endpoints"]]
    assert states == ["HEALTHY", "UNHEALTHY"]


@pytest.mark.parametrize("place", BASE.served)
def test_a_server_asks_for_certificates_and_heeds_the_rules(place: str) -> None:
    found = build(BASE)
    listener = told(found, LISTENER, f"grpc/server?xds.resource.listening_address={place}")
    address = listener["address"]["socket_address"]
    host = place.rpartition(":")[0].strip("[]")
    assert (address["address"], address["port_value"]) == (host, 50051)
    chain = listener["filter_chains"][0]
    assert chain["transport_socket"]["typed_config"]["require_client_certificate"] is True
    manager = chain["filters"][0]["typed_config"]
    assert manager["rds"]["route_config_name"] == RULES
    members = manager["http_filters"][0]["typed_config"]["rules"]
    assert (members.get("action", "ALLOW"), "td\\\\.consul" in json.dumps(members)) == (
        "ALLOW",
        True,
    )


def rules(wanted: Proxyless) -> dict[str, Any] | None:
    host = told(build(wanted), ROUTES, RULES)["virtual_hosts"][0]
    overrides = host.get("typed_per_filter_config", {})
    return overrides["envoy.filters.http.rbac"]["rbac"]["rules"] if overrides else None


def test_rules_stand_in_routes_so_that_listeners_stay() -> None:
    other = replace(BASE, policy=Policy(destination="web"))
    assert rules(other) is None
    assert rules(BASE) is not None
    before, after = build(BASE), build(other)
    assert before.of(LISTENER) == after.of(LISTENER)
    assert rules(replace(other, default_allow=False)) == {}  # Nobody.


def test_who_asks_for_tokens_is_told_that_grpc_cannot_check_them() -> None:
    need = Permission(action="allow", jwt=[JwtNeed(provider="issuer")])
    intention = Intention(source="api", destination="web", permissions=[need])
    for policy in (
        Policy(destination="web", intentions=[intention]),
        Policy(destination="web", jwt=[JwtNeed(provider="issuer")]),
    ):
        wanted = replace(BASE, policy=policy)
        assert "cannot check tokens" in build(wanted).problems["rules"]
        assert rules(wanted) == {}
    tried = Policy(destination="web", intentions=[replace(intention, dry_run=True)])
    assert not build(replace(BASE, policy=tried)).problems


def test_an_address_that_is_none_leaves_the_rest_alone() -> None:
    found = build(replace(BASE, served=["nowhere"]))
    assert "nowhere" in found.problems["listener nowhere"]
    assert list(found.of(LISTENER)) == ["payments"]


def test_what_did_not_change_is_taken_over() -> None:
    before = build(BASE)
    after = build(replace(BASE, targets={"payments": []}), before)
    assert after.of(CLUSTER)[CLUSTER_NAME] is before.of(CLUSTER)[CLUSTER_NAME]
    assert after.of(ENDPOINTS) != before.of(ENDPOINTS)
