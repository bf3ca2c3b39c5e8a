"""What blueprints become: cases in tests/cases/xds, each of which a real Envoy accepts."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import yaml
from msgspec.structs import replace

from mesh.connect.xds import messages
from mesh.connect.xds.blueprint import Blueprint, Endpoint, Upstream
from mesh.connect.xds.http import RBAC_NAME
from mesh.connect.xds.resources import build
from mesh.connect.xds.snapshot import (
    CLUSTER,
    ENDPOINTS,
    FILTER,
    KINDS,
    LISTENER,
    SECRET,
    SHORT,
    Resource,
    Snapshot,
    grouped,
)
from mesh.connect.xds.tokens import FILTER_NAME
from tests.connect.xds.sidecars import Envoy, Mesh, until
from tests.connect.xds.signing import Issuer, Signer

CASES = Path(__file__).parents[2] / "cases" / "xds"
NAMES = sorted(path.name for path in CASES.iterdir())
BASE: dict[str, Any] = {
    "proxy": "web-1-sidecar-proxy",
    "service": "web",
    "node": "node-1",
    "datacenter": "dc1",
    "bundle": {"trust_domain": "td.consul", "roots": {"root": "ROOT"}, "active": "root"},
    "leaf": {
        "service": "web",
        "uri": "spiffe://td.consul/ns/default/dc/dc1/svc/web",
        "serial": "01",
        "certificate": "CERTIFICATE",
        "key": "KEY",
        "valid_after": 0.0,
        "valid_before": 1.0,
    },
    "inbound": {"address": "0.0.0.0", "port": 21000, "local_port": 8080},
    "policy": {"destination": "web"},
}


def read(name: str) -> Blueprint:
    given = yaml.safe_load((CASES / name / "blueprint.yaml").read_text()) or {}
    whole = BASE | given
    for part in ("inbound", "policy"):
        if isinstance(given.get(part), dict):
            whole[part] = BASE[part] | given[part]
    return msgspec.convert(whole, Blueprint)


def readable(found: Snapshot) -> str:
    told: dict[str, Any] = {
        SHORT[kind]: [messages.readable(one) for one in found.of(kind).values()] for kind in KINDS
    }
    told["problems"] = found.problems
    told = {what: one for what, one in told.items() if one}
    return json.dumps(told, indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_blueprint_becomes_resources(name: str, request: pytest.FixtureRequest) -> None:
    text = readable(build(read(name)))
    expected = CASES / name / "resources.json"
    if request.config.getoption("--update"):
        expected.write_text(text)
    assert text == expected.read_text()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["DELTA_GRPC", "GRPC"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[Mesh]:
    """One Envoy, which is to be many sidecars one after the other."""
    found = Mesh()
    await found.xds.start([found.address])
    found.envoys["web"] = Envoy(found.folder, "web", found.address, request.param)
    try:
        yield found
    finally:
        await found.stop()


@pytest.mark.asyncio(loop_scope="module")
async def test_envoy_accepts_every_case(world: Mesh) -> None:
    signer = Signer("root", "td.consul")
    leaf = signer.leaf("web")
    roots = world.folder / "roots.pem"
    roots.write_text(signer.pem)
    keys = world.folder / "keys.json"
    keys.write_text(Issuer("okta").provider.keys)
    for name in NAMES:
        blueprint = read(name)
        providers = [
            replace(one, keys_file=str(keys)) if one.keys_file else one
            for one in blueprint.jwt_providers
        ]
        log = blueprint.access_log
        blueprint = replace(
            blueprint,
            leaf=blueprint.leaf and leaf,
            bundle=signer.bundle(),
            public_roots=str(roots),
            jwt_providers=providers,
            access_log=log and replace(log, path=os.devnull if log.path else ""),
        )
        world.xds.put("web", _here(build(blueprint), world.folder))
        await until(lambda: _settled(world), f"{name} is answered")
        (status,) = world.xds.status()
        assert [one for kind in status.kinds for one in kind.refused] == [], name
    rejected = await world.envoys["web"].stats("rejected")
    assert rejected
    assert [name for name, count in rejected.items() if count] == []


def _settled(world: Mesh) -> bool:
    found = world.status("web")
    return found is not None and (found.current or found.refusals > 0)


def _here(snapshot: Snapshot, folder: Path) -> Snapshot:
    """The same, with listeners on ports that are free."""
    kept = [one for kind in KINDS for one in snapshot.of(kind).values() if kind != LISTENER]
    moved = [_moved(one, folder) for one in snapshot.of(LISTENER).values()]
    return Snapshot(resources=grouped([*kept, *moved]))


def _moved(found: Resource, folder: Path) -> Resource:
    listener = messages.Listener()
    messages.Packed.FromString(found.packed).Unpack(listener)
    if listener.address.HasField("pipe"):
        listener.address.pipe.path = str(folder / "upstream.sock")
    else:
        listener.address.socket_address.address = "127.0.0.1"
        listener.address.socket_address.ipv4_compat = False
        listener.address.socket_address.port_value = 0
    return messages.resource(
        listener, found.name, children=found.children, needs=found.needs, causes=found.causes
    )


# Beyond the cases.


def _many(count: int) -> Blueprint:
    endpoints = [Endpoint(f"10.0.{one >> 8}.{one & 255}", 21000) for one in range(4)]
    upstreams = [
        Upstream(service=f"s-{one}", datacenter="dc1", port=6000 + one, endpoints=endpoints)
        for one in range(count)
    ]
    return msgspec.structs.replace(read("inbound-http"), upstreams=upstreams)


def test_the_same_blueprint_gives_the_same_bytes() -> None:
    first, second = build(_many(3)), build(_many(3))
    assert first.resources == second.resources


def test_what_did_not_change_is_taken_over() -> None:
    blueprint = _many(3)
    before = build(blueprint)
    upstreams = [*blueprint.upstreams]
    upstreams[1] = replace(upstreams[1], endpoints=[])
    after = build(replace(blueprint, upstreams=upstreams), before)
    changed = [
        (kind, name)
        for kind in KINDS
        for name, one in after.of(kind).items()
        if before.of(kind).get(name) is not one
    ]
    assert changed == [(ENDPOINTS, "s-1.default.dc1.internal.td.consul")]
    assert after.resources == build(replace(blueprint, upstreams=upstreams)).resources


def test_a_new_leaf_changes_one_secret() -> None:
    blueprint = _many(1)
    before = build(blueprint)
    assert blueprint.leaf is not None
    after = build(replace(blueprint, leaf=replace(blueprint.leaf, certificate="NEW")), before)
    assert after.of(CLUSTER) == before.of(CLUSTER)
    assert after.of(LISTENER) == before.of(LISTENER)
    assert after.of(SECRET)["leaf"] != before.of(SECRET)["leaf"]


def test_resources_say_what_they_follow_from() -> None:
    resources = build(read("rules-l7")).of(KINDS[-1])
    rules = resources["envoy.filters.http.rbac"]
    assert rules.origin("something") == "service-intentions web"
    exact = rules.origin("Invalid regex '/c/[0-9]+': no")
    assert exact == "service-intentions web: source api: Permissions[2].HTTP.PathRegex"


@pytest.mark.parametrize("uri", ["https://x:99999/keys", "https://[x/keys"])
def test_rules_hold_even_if_nobody_can_check_tokens(uri: str) -> None:
    blueprint = read("jwt-permission")
    whole = build(blueprint)
    providers = [replace(one, keys="", keys_uri=uri) for one in blueprint.jwt_providers]
    found = build(replace(blueprint, jwt_providers=providers), whole)
    assert list(found.problems) == ["rules"]
    assert found.of(FILTER)[RBAC_NAME] == whole.of(FILTER)[RBAC_NAME]
    tokens = messages.readable(found.of(FILTER)[FILTER_NAME])
    assert "providers" not in tokens["typed_config"]
