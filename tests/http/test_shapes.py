from __future__ import annotations

import json
from typing import Any

import msgspec

from mesh.http import shapes
from mesh.registry import catalog, kv


def as_json(shape: object) -> Any:
    return json.loads(msgspec.json.encode(shape))


def test_api_names() -> None:
    assert shapes.api_name("check_id") == "CheckID"
    assert shapes.api_name("service_tagged_addresses") == "ServiceTaggedAddresses"
    assert shapes.api_name("tls_skip_verify") == "TLSSkipVerify"
    assert shapes.api_name("grpc_use_tls") == "GRPCUseTLS"
    assert shapes.api_name("deregister_critical_service_after") == "DeregisterCriticalServiceAfter"


def test_a_bare_instance_has_no_optional_fields() -> None:
    shape = as_json(shapes.service(catalog.Service(node="n", id="i", name="s")))
    assert shape == {
        "ID": "i",
        "Service": "s",
        "Tags": [],
        "Address": "",
        "Meta": {},
        "Port": 0,
        "Weights": {"Passing": 1, "Warning": 1},
        "EnableTagOverride": False,
        "Proxy": {"Mode": "", "MeshGateway": {}, "Expose": {}},
        "Connect": {},
        "PeerName": "",
        "CreateIndex": 0,
        "ModifyIndex": 0,
    }


def test_a_held_pair_shows_its_session() -> None:
    row = kv.Pair(key="k", value=b"v", session="s", lock_index=2, create_index=3, modify_index=4)
    assert as_json(shapes.pair(row)) == {
        "LockIndex": 2,
        "Key": "k",
        "Flags": 0,
        "Value": "dg==",
        "Session": "s",
        "CreateIndex": 3,
        "ModifyIndex": 4,
    }


def test_a_proxy_may_set_its_mode() -> None:
    row = catalog.Service(node="n", id="i", name="s", proxy={"Mode": "transparent"})
    assert as_json(shapes.service(row))["Proxy"]["Mode"] == "transparent"
