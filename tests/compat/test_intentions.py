"""/v1/config, /v1/connect/intentions and /v1/agent/connect/authorize, as clients see them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from mesh.errors import Unreachable
from mesh.registry.authority import SETTINGS, Settings
from mesh.registry.levels import HIGHEST, Found
from mesh.registry.orders import DefaultAllow
from tests.compat.conftest import Api, Got

BASE = "/v1/connect/intentions"
GET = {"Action": "allow", "HTTP": {"PathPrefix": "/v1/", "Methods": ["GET"]}}

URI = "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web"


@pytest.fixture(autouse=True)
async def mesh(api: Api) -> Api:
    await api.registry.write(Found(HIGHEST))
    return api


async def allow(api: Api, source: str, destination: str, **body: Any) -> Got:
    query = urlencode({"source": source, "destination": destination})
    return await api.put(f"{BASE}/exact?{query}", {"Action": "allow", **body})


async def check(api: Api, *ends: str, **params: str) -> dict[str, Any]:
    query = urlencode({"source": ends[0], "destination": ends[1], **params})
    got = await api.get(f"{BASE}/check?{query}")
    assert got.status == 200, got
    found: dict[str, Any] = got.json
    return found


async def test_entries(api: Api) -> None:
    body = {"kind": "service-defaults", "name": "web", "protocol": "http", "Meta": {"a": "b"}}
    assert (await api.put("/v1/config", body)).json is True
    got = await api.get("/v1/config/service-defaults/web")
    shown = got.json
    digest = shown.pop("Hash")
    assert shown == {
        "Kind": "service-defaults",
        "Name": "web",
        "Meta": {"a": "b"},
        "Protocol": "http",
        "CreateIndex": 2,
        "ModifyIndex": 2,
    }
    assert got.index == 2
    # What was read can be written, and changes nothing.
    assert (await api.put("/v1/config", {**shown, "Hash": digest})).json is True
    assert (await api.get("/v1/config/service-defaults/web")).index == 2
    assert (await api.put("/v1/config?cas=1", body | {"protocol": "grpc"})).json is False
    assert (await api.put("/v1/config?cas=2", body | {"protocol": "grpc"})).json is True
    (listed,) = (await api.get("/v1/config/service-defaults")).json
    assert listed["Protocol"] == "grpc"
    assert (await api.get("/v1/config/service-defaults", filter='Name == "x"')).json == []
    assert (await api.get("/v1/config/mesh")).json == []
    assert (await api.delete("/v1/config/service-defaults/web?cas=1")).json is False
    for _ in range(2):
        assert (await api.delete("/v1/config/service-defaults/web")).json == {}
    got = await api.get("/v1/config/service-defaults/web")
    assert got.status == 404
    assert got.text == 'Config entry not found for "service-defaults" / "web"'


async def test_entries_refused(api: Api) -> None:
    for body, text in (
        ({"Kind": "service-default", "Name": "a"}, "did you mean service-defaults?"),
        ({"Name": "a"}, "Kind: must be given"),
        ({"Kind": "service-defaults"}, "Name: must not be empty"),
        ({"Kind": "service-router", "Name": "a", "Routes": []}, "kinds that can be written: jwt"),
        ({"Kind": "service-defaults", "Name": "a", "Protocl": "http"}, "Protocl: unknown key; did"),
    ):
        got = await api.put("/v1/config", body)
        assert got.status == 400, body
        assert text in got.text
    assert (await api.put("/v1/config", b"[1]")).status == 400
    assert (await api.put("/v1/config", b"{")).status == 400
    assert (await api.get("/v1/config/nothing")).status == 400
    assert (await api.get("/v1/config/")).status == 404
    assert (await api.delete("/v1/config/mesh")).status == 404


async def test_a_read_of_an_entry_waits_for_it(api: Api) -> None:
    waiting = asyncio.ensure_future(api.get("/v1/config/mesh/mesh", index=1, wait="60s"))
    await api.blocked()
    await api.put("/v1/config", {"Kind": "service-defaults", "Name": "a"})
    await api.blocked()
    await api.put("/v1/config", {"Kind": "mesh"})
    assert (await waiting).json["Name"] == "mesh"


async def test_exact(api: Api) -> None:
    missing = await api.get(f"{BASE}/exact", source="web", destination="db")
    assert (missing.status, missing.text) == (404, "Intention not found")
    got = await api.get(f"{BASE}/exact", source="web")
    assert (got.status, got.text) == (500, "required query parameter 'destination' not set")
    assert (await allow(api, "web", "default/db", Description="d")).json is True
    got = await api.get(f"{BASE}/exact", source="web", destination="db")
    shown = got.json
    assert shown.pop("Hash")
    assert shown == {
        "Description": "d",
        "SourceNS": "default",
        "SourceName": "web",
        "DestinationNS": "default",
        "DestinationName": "db",
        "SourceType": "consul",
        "Action": "allow",
        "Precedence": 9,
        "CreatedAt": "0001-01-01T00:00:00Z",
        "UpdatedAt": "0001-01-01T00:00:00Z",
        "CreateIndex": 2,
        "ModifyIndex": 2,
    }
    assert (await allow(api, "web", "db", Meta={"a": "b"})).status == 400
    assert (await allow(api, "web", "db", SourceName="api")).status == 400
    assert (await allow(api, "web", "team/db")).status == 400
    assert (await allow(api, "", "db")).status == 500
    entry = (await api.get("/v1/config/service-intentions/db")).json
    assert entry["Sources"][0]["Name"] == "web"
    for _ in range(2):
        assert (await api.delete(f"{BASE}/exact?source=web&destination=db")).json is True
    assert (await api.get("/v1/config/service-intentions/db")).status == 404


async def test_ids(api: Api) -> None:
    body = {"SourceName": "web", "DestinationName": "db", "Action": "allow", "Meta": {"a": "b"}}
    identity = (await api.ask("POST", BASE, json_bytes(body))).json["ID"]
    again = await api.ask("POST", BASE, json_bytes(body))
    assert again.status == 500
    assert "duplicate intention" in again.text
    assert (await api.ask("POST", BASE, json_bytes({"ID": identity}))).status == 400
    found = (await api.get(f"{BASE}/{identity}")).json
    assert (found["ID"], found["Meta"], found["Precedence"]) == (identity, {"a": "b"}, 9)
    assert found["CreatedAt"] != "0001-01-01T00:00:00Z"
    changed = {**found, "Action": "deny"}
    assert (await api.put(f"{BASE}/{identity}", changed)).json == {"ID": identity}
    assert (await api.get(f"{BASE}/{identity}")).json["Action"] == "deny"
    moved = await api.put(f"{BASE}/{identity}", {**found, "SourceName": "api"})
    assert moved.status == 500
    other = "00000000-0000-0000-0000-000000000000"
    assert (await api.get(f"{BASE}/{other}")).status == 404
    assert (await api.put(f"{BASE}/{other}", body)).status == 500
    assert (await api.get(f"{BASE}/no-uuid")).status == 400
    # An entry that is written keeps the id, and shows it.
    entry = (await api.get("/v1/config/service-intentions/db")).json
    assert entry["Sources"][0]["LegacyID"] == identity
    entry["Sources"][0]["Action"] = "allow"
    assert (await api.put("/v1/config", entry)).json is True
    assert (await api.get(f"{BASE}/{identity}")).json["Action"] == "allow"
    assert (await api.delete(f"{BASE}/{identity}")).json is True
    assert (await api.get(BASE)).json == []


async def test_lists(api: Api) -> None:
    for ends in (("*", "*"), ("web", "*"), ("*", "db"), ("web", "db"), ("api", "db")):
        assert (await allow(api, *ends)).json is True
    listed = (await api.get(BASE)).json
    assert [one["Precedence"] for one in listed] == [9, 9, 8, 6, 5]
    some = (await api.get(BASE, filter='SourceName == "web"')).json
    assert len(some) == 2
    by_destination = (await api.get(f"{BASE}/match?by=destination&name=db&name=x")).json
    assert [one["SourceName"] for one in by_destination["db"]] == ["api", "web", "*", "web", "*"]
    assert len(by_destination["x"]) == 2
    by_source = (await api.get(f"{BASE}/match", by="source", name="api")).json["api"]
    assert [one["DestinationName"] for one in by_source] == ["db", "db", "*"]
    for query in ("", "?by=neither&name=a", "?by=source"):
        assert (await api.get(f"{BASE}/match{query}")).status == 500


async def test_a_match_waits_for_its_destination_only(api: Api) -> None:
    path = f"{BASE}/match?by=destination&name=db&index=1&wait=60s"
    waiting = asyncio.ensure_future(api.get(path))
    await api.blocked()
    await allow(api, "web", "other")
    await api.blocked()
    await allow(api, "web", "db")
    assert len((await waiting).json["db"]) == 1


async def test_check(api: Api) -> None:
    found = await check(api, "web", "db")
    assert found["Allowed"]
    assert (found["Rule"], "default is allow" in found["Reason"]) == ("", True)
    await api.put("/v1/config", {"Kind": "service-defaults", "Name": "db", "Protocol": "http"})
    body = {"Action": "", "Permissions": [{**GET, "Action": "deny"}]}
    assert (await allow(api, "web", "db", **body)).json is True
    assert not (await check(api, "web", "db"))["Allowed"]
    found = await check(api, "web", "db", method="GET", path="/x/../v1/a?b")
    assert not found["Allowed"]
    assert found["Rule"] == "service-intentions/db Sources[web].Permissions[0]"
    assert (await check(api, "web", "db", method="PUT", path="/v1/a"))["Allowed"]
    assert (await check(api, "web", "db", header="a: b"))["Allowed"]
    assert (await api.get(f"{BASE}/check", source="web")).status == 500
    bad = await api.get(f"{BASE}/check?source=web&destination=db&path=x")
    assert bad.status == 400


async def test_the_default(serve: Callable[..., Awaitable[Api]]) -> None:
    api = await serve(default_intention_policy="deny")
    await api.registry.write(Found(HIGHEST))
    assert not (await check(api, "web", "db"))["Allowed"]


async def test_the_default_of_another_datacenter_is_asked_of_a_server_there(
    serve: Callable[..., Awaitable[Api]],
) -> None:
    api = await serve(default_intention_policy="allow")
    await api.registry.write(Found(HIGHEST))
    assert (await check(api, "web", "db", dc="dc1"))["Allowed"]
    assert not api.registry.orders
    api.registry.outcomes[DefaultAllow] = False
    assert not (await check(api, "web", "db", dc="dc2"))["Allowed"]
    ((_, options),) = api.registry.orders
    assert (options.datacenter, options.where) == ("dc2", "here")
    api.registry.outcomes[DefaultAllow] = Unreachable("no server of dc2 answers")
    got = await api.get(f"{BASE}/check?source=web&destination=db&dc=dc2")
    assert (got.status, "no server of dc2 answers" in got.text) == (500, True)


async def test_dry_runs(api: Api) -> None:
    await allow(api, "web", "db")
    tried = {"Action": "deny", "DryRun": True}
    assert (await allow(api, "web", "db", **tried)).json is True
    assert (await check(api, "web", "db"))["Allowed"]
    assert not (await check(api, "web", "db", **{"dry-run": "true"}))["Allowed"]
    assert [one["Action"] for one in (await api.get(BASE)).json] == ["allow"]
    both = (await api.get(f"{BASE}?dry-run")).json
    assert [one.get("DryRun") for one in both] == [True, None]
    ends = "source=web&destination=db"
    assert (await api.put(f"{BASE}/promote?{ends}")).json is True
    assert not (await check(api, "web", "db"))["Allowed"]
    assert (await api.put(f"{BASE}/promote?{ends}")).status == 404


async def test_owners(api: Api) -> None:
    await allow(api, "web", "db", Owner="ops")
    got = await allow(api, "web", "db", Action="deny")
    assert got.status == 500
    assert 'belongs to "ops"' in got.text
    path = f"{BASE}/exact?source=web&destination=db"
    assert (await api.delete(path)).status == 500
    assert (await api.put(f"{path}&owner=ops", {"Action": "deny", "Owner": "ops"})).json is True
    assert (await api.delete(f"{path}&force")).json is True


async def test_authorize(api: Api) -> None:
    uri = URI
    path = "/v1/agent/connect/authorize"

    async def ask(**body: str) -> Got:
        return await api.ask("POST", path, json_bytes(body))

    got = await ask(Target="db", ClientCertURI=uri, ClientCertSerial="01")
    assert got.json["Authorized"] is True
    await allow(api, "web", "db", Action="deny")
    got = await ask(Target="db", ClientCertURI=uri)
    assert got.json == {
        "Authorized": False,
        "Reason": 'the intention from "web" to "db" says deny',
    }
    # What dry runs say is for who asks, where there are any.
    body = json_bytes({"Target": "db", "ClientCertURI": uri})
    assert "DryRun" not in (await api.ask("POST", f"{path}?dry-run", body)).json
    await allow(api, "web", "db", Action="allow", DryRun=True)
    assert "DryRun" not in (await ask(Target="db", ClientCertURI=uri)).json
    tried = (await api.ask("POST", f"{path}?dry-run", body)).json
    assert (tried["Authorized"], tried["DryRun"]) == (False, "allowed")
    transaction = api.registry.database.begin(api.registry.database.index + 1)
    transaction.put(SETTINGS, Settings(cluster_id="11111111-2222-3333-4444-555555555555"))
    api.registry.answers.committed(transaction.commit())
    assert (await ask(Target="other", ClientCertURI=uri)).json["Authorized"] is True
    foreign = (await ask(Target="other", ClientCertURI=uri.replace("1111", "2222"))).json
    assert foreign["Authorized"] is False
    assert "another trust domain" in foreign["Reason"]
    assert (await ask(Target="", ClientCertURI=uri)).status == 400
    assert (await ask(Target="db", ClientCertURI="http://x")).status == 400
    assert (await ask(Target="db", ClientCertURI="spiffe://a.consul")).status == 400


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "Target: the service"),
        ({"Target": "db", "Callers": [{"Count": 1}]}, "Callers[0].ClientCertURI: "),
        ({"Target": "db", "Callers": [{"ClientCertURI": URI, "Count": 0}]}, "Callers[0].Count: "),
        ({"Target": "db", "Callers": [{"ClientCertURI": URI}] * 129}, "the limit is 128"),
        ({"Target": "db", "Callers": [{"ClientCertURI": URI, "Allowed": True}]}, "].DryRun: "),
        ({"Target": "db", "Callers": [{"ClientCertURI": URI, "DryRun": "no"}]}, "DryRun"),
    ],
)
async def test_what_proxies_tell_of_refusals_is_checked(
    api: Api, body: dict[str, Any], said: str
) -> None:
    got = await api.put("/v1/agent/connect/refused", body)
    assert got.status == 400
    assert said in got.text


def json_bytes(body: Any) -> bytes:
    return json.dumps(body).encode()
