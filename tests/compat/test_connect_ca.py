"""/v1/connect/ca and /v1/agent/connect/ca as Consul's clients see them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import consul
import pytest

from mesh.clock import SystemClock
from mesh.http.connect_ca import time_text
from tests.cluster.dev import DevNode, dev_node
from tests.cluster.processes import eventually
from tests.compat.agent import serving
from tests.connect.authority import DOMAIN, START
from tests.connect.hand import HandClock
from tests.connect.servers import Servers

pytestmark = pytest.mark.together


async def test_roots_before_there_are_any() -> None:
    async with serving() as api:
        got = await api.get("/v1/connect/ca/roots")
        assert got.json == {"ActiveRootID": "", "TrustDomain": "", "Roots": []}
        for path in ("/v1/connect/ca/configuration", "/v1/agent/connect/ca/roots"):
            got = await api.get(path)
            assert got.status == 500
            assert "no certificate authority" in got.text


async def test_roots() -> None:
    async with serving(Servers(HandClock(START))) as api:
        got = await api.get("/v1/connect/ca/roots")
        (root,) = got.json["Roots"]
        assert got.json["TrustDomain"] == DOMAIN
        assert got.json["ActiveRootID"] == root["ID"]
        assert (root["Active"], root["PrivateKeyType"], root["PrivateKeyBits"]) == (True, "ec", 256)
        assert root["NotAfter"] == "2033-11-11T22:13:20Z"
        assert 0 < root["SerialNumber"] < 2**53
        assert len(root["IntermediateCerts"]) == 1
        assert (await api.get("/v1/agent/connect/ca/roots")).json == got.json
        pem = await api.get("/v1/connect/ca/roots", pem="true")
        assert pem.headers["content-type"] == "application/pem-certificate-chain"
        assert pem.body.decode() == root["RootCert"]


async def test_a_spiffe_bundle() -> None:
    servers = Servers(HandClock(START))
    async with serving(servers) as api:
        (key,) = (got := (await api.get("/v1/connect/ca/bundle")).json)["keys"]
        assert (got["spiffe_sequence"], got["spiffe_refresh_hint"]) == (1, 300)
        assert (key["use"], key["kty"], key["crv"]) == ("x509-svid", "EC", "P-256")
        pem = servers.state.active.certificate
        body = "".join(pem.splitlines()[1:-1])
        assert base64.b64decode(key["x5c"][0]) == base64.b64decode(body)
        servers.rotate()
        got = (await api.get("/v1/connect/ca/bundle")).json
        assert (len(got["keys"]), got["spiffe_sequence"]) == (2, 2)


async def test_a_leaf() -> None:
    now = SystemClock().wall()
    async with serving(Servers(HandClock(now))) as api:
        got = await api.get("/v1/agent/connect/ca/leaf/web")
        leaf = got.json
        assert leaf["Service"] == "web"
        assert leaf["ServiceURI"] == f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web"
        assert leaf["PrivateKeyPEM"].startswith("-----BEGIN EC PRIVATE KEY")
        assert leaf["ValidBefore"] == time_text(now + 72 * 3600)
        assert got.index == leaf["ModifyIndex"]
        again = await api.get("/v1/agent/connect/ca/leaf/web", index=got.index, wait="1ms")
        assert again.json == leaf
        made = await api.ask("POST", "/v1/agent/connect/ca/leaf/web/reissue")
        assert made.json["SerialNumber"] != leaf["SerialNumber"]
        waited = await api.get("/v1/agent/connect/ca/leaf/web", index=got.index, wait="10s")
        assert waited.json == made.json
        none = await api.ask("POST", "/v1/agent/connect/ca/leaf/none/reissue")
        assert none.status == 404
        every = await api.get("/v1/agent/connect/ca/leaf/*")
        assert (every.status, "stands for every service" in every.text) == (400, True)


# A real node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevNode]:
    with dev_node(tmp_path_factory.mktemp("ca")) as one:
        yield one


@pytest.fixture
def client(node: DevNode) -> Any:
    client = consul.Consul(host="127.0.0.1", port=node.http)
    eventually(lambda: client.connect.ca.roots()["Roots"])
    return client


def test_py_consul_sets_it_up(client: Any) -> None:
    before = client.connect.ca.configuration()
    assert before["Provider"] == "consul"
    assert before["Config"]["LeafCertTTL"] == "72h"
    root = client.connect.ca.roots()["ActiveRootID"]
    assert client.connect.ca.update_configuration("consul", {"LeafCertTTL": "24h"})
    after = client.connect.ca.configuration()
    assert after["Config"]["LeafCertTTL"] == "24h"
    assert after["ModifyIndex"] > before["ModifyIndex"]
    assert client.connect.ca.roots()["ActiveRootID"] == root

    assert client.connect.ca.update_configuration("consul", {"PrivateKeyBits": 384})
    roots = client.connect.ca.roots()
    assert roots["ActiveRootID"] != root
    assert [one["Active"] for one in roots["Roots"]] == [True, False]
    assert len(roots["Roots"][0]["IntermediateCerts"]) == 2


@pytest.mark.parametrize(
    ("provider", "config", "why"),
    [
        ("vault", {}, "Provider"),
        ("consul", {"LeafCertTTL": "10m"}, "LeafCertTTL: expected 1h to 8760h, got 10m0s"),
        ("consul", {"Leaf": 1}, "unknown key"),
        ("consul", {"PrivateKeyBits": 100}, "PrivateKeyBits"),
        ("consul", {"RootCert": "x"}, "PEM"),
        ("consul", {"SignCommand": ["true"]}, "own files"),
        ("consul", {"IntermediateCert": "x"}, "goes with IntermediateKey"),
        ("consul", {"IntermediateCert": "x", "IntermediateKey": "x"}, "goes with the RootCert"),
    ],
)
def test_what_makes_no_sense_is_refused(
    client: Any, provider: str, config: dict[str, Any], why: str
) -> None:
    with pytest.raises(consul.ConsulException, match=why):
        client.connect.ca.update_configuration(provider, config)
