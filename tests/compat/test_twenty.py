"""The twenty behaviours that implementations of this API most often get wrong, each by its number.

Through a real node over HTTP and DNS. Number 20 is about ACLs, which mesh does not have yet; what
number 15 says of minutes is tried in virtual time by `tests/agent`, and here what shows at once.
"""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.cluster.dev import DevNode, dev_node
from tests.cluster.processes import eventually

pytestmark = pytest.mark.together


class Got:
    """What came back."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.body, self.headers = response.status, response.read(), response.headers

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def index(self) -> int:
        """X-Consul-Index."""
        return int(self.headers["X-Consul-Index"])


class Asker:
    """A client that hides nothing."""

    def __init__(self, node: DevNode) -> None:
        self.node = node

    def ask(self, method: str, path: str, body: object = b"") -> Got:
        """One request on a connection of its own."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.node.http, timeout=60)
        try:
            connection.request(method, path, data or None)
            return Got(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str) -> Got:
        """GET."""
        return self.ask("GET", path)

    def put(self, path: str, body: object = b"") -> Got:
        """PUT."""
        return self.ask("PUT", path, body)

    def register(self, node: str, **more: Any) -> None:
        """Write to the catalog."""
        got = self.put("/v1/catalog/register", {"Node": node, "Address": "10.9.0.1", **more})
        assert got.status == 200, got.body

    def session(self, **fields: Any) -> str:
        """A new session; its id."""
        made: str = self.put("/v1/session/create", fields).json["ID"]
        return made

    def dig(self, *words: str) -> str:
        """What dig prints."""
        command = ["dig", "@127.0.0.1", "-p", str(self.node.dns), "+tries=1", "+time=3", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    with dev_node(tmp_path_factory.mktemp("twenty"), more='session_ttl_min = "1s"') as node:
        asker = Asker(node)
        # What the node says of itself comes a moment later, and moves indexes too.
        eventually(lambda: all(one["TaggedAddresses"] for one in nodes(asker)))
        yield asker


def nodes(api: Asker) -> list[Any]:
    found: list[Any] = api.get("/v1/catalog/nodes").json
    assert found
    return found


def test_01_an_index_is_never_0(api: Asker) -> None:
    for path in (
        "/v1/kv/t1-none",
        "/v1/kv/t1-none?recurse",
        "/v1/catalog/service/t1-none",
        "/v1/health/service/t1-none",
        "/v1/health/state/warning",
        "/v1/session/list",
        "/v1/query",
    ):
        assert api.get(path).index >= 1, path


def test_02_a_watch_on_a_missing_key_stays_asleep(api: Asker) -> None:
    index = api.get("/v1/kv/t2/x").index
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(api.get, f"/v1/kv/t2/x?index={index}&wait=30s")
        for number in range(5):
            api.put(f"/v1/kv/t2/other-{number}", b"1")
        assert not waiting.done()
        api.put("/v1/kv/t2/x", b"1")
        got = waiting.result()
    assert got.status == 200
    assert got.index == got.json[0]["ModifyIndex"]
    api.put("/v1/kv/t2/later", b"1")
    assert api.get("/v1/kv/t2/x").index == got.index, "its own, not the store's"


def test_03_idempotent_writes_move_no_index(api: Asker) -> None:
    service = {"ID": "t3", "Service": "t3", "Port": 80}
    check = {"CheckID": "t3", "Name": "t3", "Status": "passing", "ServiceID": "t3"}

    def write() -> None:
        assert api.put("/v1/kv/t3?flags=3", b"same").json is True
        api.register("t3", Service=service, Check=check)

    def indexes() -> list[int]:
        paths = ("/v1/kv/t3", "/v1/catalog/service/t3", "/v1/health/checks/t3", "/v1/catalog/nodes")
        return [api.get(path).index for path in paths]

    write()
    before = indexes()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(api.get, f"/v1/health/service/t3?index={before[2]}&wait=30s")
        write()
        assert indexes() == before
        assert not waiting.done()
        api.register("t3", Service=service | {"Port": 81})
        assert waiting.result().json[0]["Service"]["Port"] == 81


def test_04_cas_0_creates_only(api: Asker) -> None:
    assert api.put("/v1/kv/t4?cas=0", b"1").json is True
    got = api.put("/v1/kv/t4?cas=0", b"2")
    assert (got.status, got.json) == (200, False)
    index = api.get("/v1/kv/t4").json[0]["ModifyIndex"]
    assert api.put(f"/v1/kv/t4?cas={index - 1}", b"3").json is False
    assert api.put(f"/v1/kv/t4?cas={index}", b"4").json is True
    assert api.ask("DELETE", f"/v1/kv/t4?cas={index}").json is False
    assert api.ask("DELETE", "/v1/kv/t4-none?cas=7").json is True


def test_05_lock_bookkeeping(api: Asker) -> None:
    one, two = api.session(LockDelay="0s"), api.session(LockDelay="0s")

    def pair() -> Any:
        return api.get("/v1/kv/t5").json[0]

    assert api.put(f"/v1/kv/t5?acquire={one}", b"1").json is True
    assert api.put(f"/v1/kv/t5?acquire={one}", b"2").json is True
    assert (pair()["LockIndex"], pair()["Session"]) == (1, one)
    api.put("/v1/kv/t5", b"3")
    assert pair()["Session"] == one
    assert api.put(f"/v1/kv/t5?release={two}", b"4").json is False
    assert api.put(f"/v1/kv/t5?release={one}", b"5").json is True
    assert api.put(f"/v1/kv/t5?acquire={two}", b"6").json is True
    assert pair()["LockIndex"] == 2
    assert api.put("/v1/kv/t5?acquire=00000000-0000-0000-0000-000000000000", b"7").status == 500


def test_06_the_end_of_a_session(api: Asker) -> None:
    one, two = api.session(LockDelay="10m"), api.session()
    assert api.put(f"/v1/kv/t6/kept?acquire={one}", b"1").json is True
    assert api.put(f"/v1/kv/t6/orderly?acquire={one}", b"1").json is True
    assert api.put(f"/v1/kv/t6/orderly?release={one}", b"1").json is True
    assert api.put(f"/v1/kv/t6/orderly?acquire={two}", b"1").json is True, "no delay"
    api.put(f"/v1/session/destroy/{one}")
    assert "Session" not in api.get("/v1/kv/t6/kept").json[0]
    got = api.put(f"/v1/kv/t6/kept?acquire={two}", b"2")
    assert (got.status, got.json) == (200, False), "lock-delay"
    gone = api.session(Behavior="delete", TTL="1s")
    began = time.monotonic()
    assert api.put(f"/v1/kv/t6/deleted?acquire={gone}", b"1").json is True
    eventually(lambda: api.get("/v1/kv/t6/deleted").status == 404)
    assert time.monotonic() - began >= 0.9, "never before its TTL"


def test_07_a_dead_session(api: Asker) -> None:
    dead = api.session()
    assert api.put(f"/v1/session/destroy/{dead}").json is True
    assert api.put(f"/v1/session/renew/{dead}").status == 404
    got = api.put(f"/v1/session/destroy/{dead}")
    assert (got.status, got.json) == (200, True)
    got = api.get(f"/v1/session/info/{dead}")
    assert (got.status, got.json) == (200, [])


def test_08_session_defaults(api: Asker) -> None:
    def made(**fields: Any) -> Any:
        return api.get(f"/v1/session/info/{api.session(**fields)}").json[0]

    found = made()
    assert (found["NodeChecks"], found["LockDelay"]) == (["serfHealth"], 15_000_000_000)
    assert not made(NodeChecks=[])["NodeChecks"]
    assert not made(Checks=[])["NodeChecks"]
    assert made(LockDelay=5)["LockDelay"] == 5_000_000_000


def test_09_keys_are_cut_after_the_separator(api: Asker) -> None:
    for key in ("t9/foo/a", "t9/foo/b", "t9/bar", "t9/zip/c/d"):
        api.put(f"/v1/kv/{key}", b"1")
    expected = ["t9/bar", "t9/foo/", "t9/zip/"]
    for name in ("separator", "seperator"):
        assert api.get(f"/v1/kv/t9/?keys&{name}=/").json == expected
    assert api.get("/v1/kv/t9-none/?keys").status == 404
    everything = api.get("/v1/kv/?keys")
    assert everything.status == 200
    assert everything.json == sorted(everything.json)


def test_10_transactions(api: Asker) -> None:
    def op(verb: str, key: str, **more: Any) -> dict[str, Any]:
        return {"KV": {"Verb": verb, "Key": key, **more}}

    value = base64.b64encode(b"v").decode()
    got = api.put(
        "/v1/txn",
        [
            op("set", "t10/a", Value=value),
            op("get", "t10/none"),
            op("cas", "t10/a", Value=value, Index=1),
        ],
    )
    assert got.status == 409
    assert {one["OpIndex"] for one in got.json["Errors"]} == {1, 2}
    assert api.get("/v1/kv/t10/a").status == 404
    got = api.put("/v1/txn", [op("set", "t10/a", Value=value), op("get", "t10/a")])
    assert [one["KV"].get("Value") for one in got.json["Results"]] == [None, value]
    read = api.put("/v1/txn", [op("get", "t10/a")])
    assert (read.status, read.headers["X-Consul-Index"]) == (200, None)
    assert api.put("/v1/txn", [op("get", "t10/a")] * 129).status == 413


def test_11_the_codes_of_local_health(api: Asker) -> None:
    def health(text: bool = False) -> tuple[int, str]:
        path = "/v1/agent/health/service/id/t11" + ("?format=text" if text else "")
        got = api.get(path)
        return got.status, got.body.decode() if text else got.json["AggregatedStatus"]

    api.put("/v1/agent/service/register", {"Name": "t11", "Check": {"TTL": "10m"}})
    for word, code in (("pass", 200), ("warn", 429), ("fail", 503)):
        api.put(f"/v1/agent/check/{word}/service:t11")
        status = {"pass": "passing", "warn": "warning", "fail": "critical"}[word]
        # The checks of the node count too, and a busy machine may be slow to write.
        eventually(lambda code=code, status=status: health() == (code, status))  # type: ignore[misc]
        assert health(text=True) == (code, status)
    api.put("/v1/agent/check/pass/service:t11")
    api.put("/v1/agent/service/maintenance/t11?enable=true")
    assert health() == (503, "maintenance")
    assert api.get("/v1/agent/health/service/id/t11-none").status == 404
    api.put("/v1/agent/service/deregister/t11")


def test_12_health_includes_the_checks_of_the_node(api: Asker) -> None:
    service = {"ID": "t12", "Service": "t12", "Tags": ["Blue", "v1"]}
    serf = {"CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "passing"}
    api.register("t12", Service=service, Check=serf, NodeMeta={"external-node": "true"})
    (found,) = api.get("/v1/health/service/t12?passing").json
    assert [one["CheckID"] for one in found["Checks"]] == ["serfHealth"]
    assert len(api.get("/v1/health/service/t12?tag=blue&tag=V1").json) == 1
    assert api.get("/v1/health/service/t12?tag=blue&tag=v2").json == []
    api.register("t12", Check=serf | {"Status": "critical"})
    assert api.get("/v1/health/service/t12?passing").json == []
    assert len(api.get("/v1/health/service/t12").json) == 1
    assert api.get("/v1/health/service/t12?passing=junk").status == 400


def test_13_unknown_things_rarely_404(api: Asker) -> None:
    for path in ("/v1/catalog/service/t13", "/v1/health/node/t13", "/v1/health/service/t13"):
        got = api.get(path)
        assert (got.status, got.json) == (200, []), path
    got = api.get("/v1/catalog/node/t13")
    assert (got.status, got.json) == (200, None)
    unknown = "00000000-0000-0000-0000-000000000000"
    for method, path in (
        ("PUT", "/v1/agent/service/deregister/t13"),
        ("PUT", "/v1/agent/check/pass/t13"),
        ("PUT", "/v1/agent/check/deregister/t13"),
        ("GET", "/v1/coordinate/node/t13"),
        ("GET", f"/v1/query/{unknown}"),
        ("GET", "/v1/query/t13/execute"),
    ):
        assert api.ask(method, path).status == 404, path


def test_14_what_the_community_edition_rejects(api: Asker) -> None:
    for query in ("ns=x", "partition=x"):
        assert api.get(f"/v1/kv/t14?{query}").status == 400
    got = api.put("/v1/catalog/register", {"Node": "t14", "Address": "10.0.0.1", "Bogus": 1})
    assert (got.status, b"unknown field" in got.body) == (400, True)
    for method in ("HEAD", "PATCH"):
        got = api.ask(method, "/v1/kv/t14")
        assert (got.status, got.headers["Allow"]) == (405, "OPTIONS,GET,PUT,DELETE")
    got = api.ask("OPTIONS", "/v1/kv/t14")
    assert (got.status, got.headers["Allow"]) == (200, "OPTIONS,GET,PUT,DELETE")


def test_15_deregister_critical_is_raised_to_a_minute(api: Asker) -> None:
    """The sweep and its minute are tried in virtual time in tests/agent."""
    check = {"TTL": "10m", "DeregisterCriticalServiceAfter": "1s"}
    api.put("/v1/agent/service/register", {"Name": "t15", "Check": check})
    api.put("/v1/agent/check/fail/service:t15")
    eventually(
        lambda: (
            "DeregisterCriticalServiceAfter: raised to 60 s"
            in (api.node.folder / "log").read_text()
        )
    )
    assert api.get("/v1/agent/service/t15").status == 200
    api.put("/v1/agent/service/deregister/t15")


class Script(http.server.BaseHTTPRequestHandler):
    """Answers with one status after the other, then with the last one for ever."""

    statuses: list[int] = []

    def do_GET(self) -> None:
        """Answer."""
        left = type(self).statuses
        self.send_response(left.pop(0) if len(left) > 1 else left[0])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_16_thresholds(api: Asker) -> None:
    Script.statuses = [200, 500, 500, 500, 200, 429, 200]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Script)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    check = {
        "CheckID": "t16",
        "Name": "t16",
        "HTTP": f"http://127.0.0.1:{server.server_address[1]}/",
        "Interval": "1s",
        "FailuresBeforeWarning": 2,
        "FailuresBeforeCritical": 3,
        "SuccessBeforePassing": 3,
    }
    try:
        assert api.put("/v1/agent/check/register", check).status == 200
        seen = ["critical"]

        def until(status: str) -> bool:
            found = api.get("/v1/agent/checks").json["t16"]["Status"]
            if found != seen[-1]:
                seen.append(found)
            return bool(found == status and not Script.statuses[1:])

        eventually(lambda: until("passing"), 60)
    finally:
        api.put("/v1/agent/check/deregister/t16")
        server.shutdown()
        server.server_close()
    # The first result counts at once; two failures warn and three are critical; three successes
    # pass, of which a warning is one.
    assert seen == ["critical", "passing", "warning", "critical", "passing"]


def test_17_defaults_of_services(api: Asker) -> None:
    checks = [{"TTL": "10m"}, {"TTL": "10m"}]
    api.put("/v1/agent/service/register", {"Name": "t17", "Address": "10.1.2.3", "Checks": checks})
    ids = [one for one in api.get("/v1/agent/checks").json if "t17" in one]
    assert ids == ["service:t17:1", "service:t17:2"]
    found = api.get("/v1/agent/service/t17").json
    assert found["Weights"] == {"Passing": 1, "Warning": 1}
    assert (found["Tags"], found["Meta"]) == ([], {})
    assert {*found["TaggedAddresses"]} == {"lan_ipv4", "wan_ipv4"}
    api.put("/v1/agent/service/register", {"Name": "t17", "Check": {"TTL": "10m"}})
    kept = {one for one in api.get("/v1/agent/checks").json if "t17" in one}
    assert kept == {"service:t17", "service:t17:1", "service:t17:2"}
    again = {"Name": "t17", "Check": {"TTL": "10m"}}
    api.put("/v1/agent/service/register?replace-existing-checks", again)
    assert [one for one in api.get("/v1/agent/checks").json if "t17" in one] == ["service:t17"]
    api.put("/v1/agent/service/deregister/t17")


def test_18_negatives_of_dns(api: Asker) -> None:
    service = {"ID": "t18", "Service": "t18", "Tags": ["v1"], "Port": 80}
    api.register("t18", Service=service)
    sick = {"CheckID": "t18", "Name": "t18", "Status": "critical", "ServiceID": "t18-sick"}
    api.register("t18", Service={"ID": "t18-sick", "Service": "t18-sick"}, Check=sick)
    for name in ("t18-sick.service.mesh", "v2.t18.service.mesh", "t18-none.service.mesh"):
        said = api.dig(name, "A")
        assert ("NXDOMAIN" in said, "SOA" in said) == (True, True), name
    said = api.dig("t18.service.mesh", "AAAA")
    assert ("NOERROR" in said, "ANSWER: 0" in said, "SOA" in said) == (True, True, True)
    said = api.dig("t18.node.mesh", "AAAA")
    assert ("NOERROR" in said, "ANSWER: 0" in said, "SOA" in said) == (True, True, False)
    for number in range(6):
        address = {"Address": f"10.18.0.{number}"}
        api.register(f"t18-{number}", Service={"ID": "m", "Service": "t18-many"} | address)
    said = api.dig("t18-many.service.mesh", "A", "+noedns")
    assert ("ANSWER: 3" in said, " tc" in said) == (True, False)


def test_19_targets_of_srv(api: Asker) -> None:
    weights = {"Passing": 10, "Warning": 2}
    warns = {"CheckID": "t19", "Name": "t19", "Status": "warning", "ServiceID": "t19-node"}
    for name, address in (("node", ""), ("ip", "10.19.0.1"), ("host", "web.example.org")):
        service = {"ID": f"t19-{name}", "Service": f"t19-{name}", "Port": 80, "Weights": weights}
        api.register("t19", Service=service | {"Address": address})
    said = api.dig("t19-node.service.mesh", "SRV")
    assert "1 10 80 t19.node.dc1.mesh." in said
    assert "t19.node.dc1.mesh.\t0\tIN\tA\t10.9.0.1" in said
    said = api.dig("t19-ip.service.mesh", "SRV")
    assert "1 10 80 0a130001.addr.dc1.mesh." in said
    assert "0a130001.addr.dc1.mesh.\t0\tIN\tA\t10.19.0.1" in said
    assert "1 10 80 web.example.org." in api.dig("t19-host.service.mesh", "SRV")
    api.register("t19", Check=warns)
    assert "1 2 80 t19.node.dc1.mesh." in api.dig("t19-node.service.mesh", "SRV")
    api.register("t19-twin", Service={"ID": "x", "Service": "t19-ip", "Address": "10.19.0.1"})
    answers = api.dig("t19-ip.service.mesh", "A", "+short").split()
    assert answers == ["10.19.0.1"], "duplicates are removed"
