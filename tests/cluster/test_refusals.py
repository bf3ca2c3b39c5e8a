"""Calls that intentions refuse, or dry runs would, are reported from the sidecars that saw them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.meshed import Door, application, meshed, protocol, register
from tests.cluster.processes import Cluster, Meshd, eventually, free_ports
from tests.connect.xds.signing import Issuer

pytestmark = pytest.mark.together


class Shop:
    """web on one agent calls payments, which speaks http, and ledger, which speaks tcp."""

    def __init__(self, made: Cluster) -> None:
        self.made, (self.here, self.there) = made, made.agents
        ports = free_ports(self.here.address, 2)
        protocol(self.here, "payments", "http")
        for name in ("payments", "ledger"):
            register(self.there, name, application(made, self.there, name))
        upstreams = dict(zip(("payments", "ledger"), ports, strict=True))
        register(self.here, "web", application(made, self.here, "web"), upstreams=upstreams)
        self.payments, self.ledger = (Door(self.here.address, port) for port in ports)
        for door in (self.payments, self.ledger):
            eventually(lambda door=door: door.status() == 200, 60)  # type: ignore[misc]

    def say(self, *words: str) -> None:
        done = self.here.meshctl("intention", *words)
        assert done.returncode == 0, done.stderr

    def seen(self, node: Meshd, kind: str, destination: str = "payments") -> dict[str, Any] | None:
        """What a node's report says of web's calls."""
        flag = "&denied" if kind == "denied" else ""
        found = node.get(f"/v1/connect/intentions/report?service={destination}{flag}")
        return next((one for one in found if one["Kind"] == kind), None)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with meshed(tmp_path_factory.mktemp("refusals")) as made:
        found = Shop(made)
        yield found
        found.payments.close()
        found.ledger.close()


def test_a_dry_run_is_reported_then_promoted_then_bites(shop: Shop) -> None:
    shop.say("deny", "web", "payments", "--dry-run", "--path", "/admin")

    def reported() -> bool:
        assert shop.payments.status("/admin/keys?token=secret") == 200
        return shop.seen(shop.there, "would-deny") is not None

    eventually(reported, 60)
    assert shop.payments.status("/") == 200
    # What another agent has of it came by the servers.
    eventually(lambda: shop.seen(shop.here, "would-deny") is not None, 60)
    found = shop.seen(shop.here, "would-deny")
    assert found is not None
    assert (found["Source"], found["Destination"]) == ("web", "payments")
    assert found["Entry"] == "service-intentions/payments Sources[web].Permissions[0]"
    assert found["Examples"] == ["GET /admin/keys"]
    assert [one["Node"] for one in found["Nodes"]] == [shop.there.name]
    assert 1 <= found["Count"] == found["Nodes"][0]["Count"]
    assert found["First"] <= found["Last"]
    shown = shop.here.meshctl("intention", "report", "--nodes", "payments").stdout
    assert "web => payments: " in shown
    assert "GET /admin/keys" in shown
    shop.say("promote", "web", "payments")
    eventually(lambda: shop.payments.status("/admin/keys") == 403)
    assert shop.payments.status("/") == 200
    assert shop.seen(shop.here, "would-deny") is None


def test_what_was_denied_says_by_which_rule(shop: Shop) -> None:
    shop.say("deny", "web", "payments", "--path", "/admin")
    eventually(lambda: shop.payments.status("/admin/keys") == 403)
    eventually(lambda: shop.seen(shop.there, "denied") is not None, 60)
    found = shop.seen(shop.there, "denied")
    assert found is not None
    assert found["Entry"] == "service-intentions/payments Sources[web].Permissions[0]"
    shown = shop.there.meshctl("intention", "report", "--denied", "--here").stdout
    assert "web => payments" in shown
    lines = [line for line in shop.there.log().splitlines() if "denied: web => payments" in line]
    assert "Sources[web].Permissions[0]" in lines[0]


def test_connections_are_reported_too_even_while_they_last(shop: Shop) -> None:
    shop.say("deny", "web", "ledger", "--dry-run")
    shop.ledger.close()  # A connection that is open keeps the rules it began with.

    def reported() -> bool:
        assert shop.ledger.status() == 200
        return shop.seen(shop.there, "would-deny", "ledger") is not None

    eventually(reported, 60)
    found = shop.seen(shop.there, "would-deny", "ledger")
    assert found is not None
    assert (found["Entry"], found["Examples"]) == ("service-intentions/ledger Sources[web]", [])
    shop.say("promote", "web", "ledger")
    # The connection that is open is cut and counted, though nobody tries another one.
    eventually(lambda: shop.seen(shop.there, "denied", "ledger"), 60)
    found = shop.seen(shop.there, "denied", "ledger")
    assert found is not None
    assert (found["Entry"], found["Count"]) == ("service-intentions/ledger Sources[web]", 1)
    shop.ledger.close()
    eventually(lambda: shop.ledger.status() == 0)


def test_tokens_let_callers_in_and_the_report_names_their_lack(shop: Shop) -> None:
    issuer = Issuer("okta")
    keys = base64.b64encode(issuer.provider.keys.encode()).decode()
    provider = {
        "Kind": "jwt-provider",
        "Name": "okta",
        "Issuer": issuer.provider.issuer,
        "JSONWebKeySet": {"Local": {"JWKS": keys}},
    }
    admin = {"Name": "okta", "VerifyClaims": [{"Path": ["role"], "Value": "admin"}]}
    rules = [
        {"Action": "allow", "HTTP": {"PathPrefix": "/admin"}, "JWT": {"Providers": [admin]}},
        {"Action": "deny", "HTTP": {"PathPrefix": "/admin"}},
        {"Action": "allow", "HTTP": {"PathPrefix": "/"}},
    ]
    entry = {
        "Kind": "service-intentions",
        "Name": "payments",
        "JWT": {"Providers": [{"Name": "okta"}]},
        "Sources": [{"Name": "web", "Permissions": rules}],
    }
    for one in (provider, entry):
        shop.here.put("/v1/config", one)
    admins, others = (
        {"Authorization": f"Bearer {issuer.token(role=role)}"} for role in ("admin", "guest")
    )
    stranger = {"Authorization": f"Bearer {Issuer('okta').token(role='admin')}"}
    eventually(lambda: shop.payments.status("/") == 401)
    told = [
        shop.payments.status(path, headers=headers)
        for path, headers in [
            ("/admin", admins),
            ("/", others),
            ("/admin", others),
            ("/", stranger),
        ]
    ]
    assert told == [200, 200, 403, 401]
    wanted = "service-intentions/payments JWT"

    def lacking() -> bool:
        found = shop.there.get("/v1/agent/connect/report?denied&service=payments")
        return any(one["Entry"] == wanted for one in found)

    eventually(lacking, 60)


def test_agents_answer_who_may_call_while_no_server_is_there(shop: Shop) -> None:
    uri = shop.there.get("/v1/agent/connect/ca/leaf/ledger")["ServiceURI"]
    asked = {"Target": "ledger", "ClientCertURI": uri.replace("/svc/ledger", "/svc/web")}
    check = "/v1/connect/intentions/check?source=web&destination=ledger"
    assert "Stale" not in shop.there.get(check)
    for server in shop.made.servers:
        server.kill()
    found = shop.there.get(check)
    assert (found["Allowed"], found["Stale"]) == (False, True)
    told = shop.there.ask("POST", "/v1/agent/connect/authorize", asked)
    assert not told["Authorized"]
    assert "no server answers" in told["Reason"]
    shown = shop.there.meshctl("intention", "check", "web", "ledger")
    assert (shown.returncode, "Stale" in shown.stdout) == (1, True)
