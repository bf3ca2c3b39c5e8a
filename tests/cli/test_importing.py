"""meshctl import consul-snapshot: what a snapshot of Consul holds comes to a real server."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

from mesh.cli import consul_rows, main
from mesh.registry import kinds
from tests.cli import consul_snapshots as consul
from tests.cluster.processes import Cluster, cluster


def run(*words: str, address: str = "127.0.0.1:1") -> tuple[int, str, str]:
    stdout, stderr = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    process = main.Process({"MESH_HTTP_ADDR": address}, io.BytesIO(), stdout, stderr)
    code = main.run(words, process)
    stdout.flush()
    assert isinstance(stdout.buffer, io.BytesIO)
    return code, stdout.buffer.getvalue().decode(), stderr.getvalue()


def imported(made: Cluster, *words: str) -> dict[str, Any]:
    server = made.servers[0]
    address = f"{server.client_address}:{server.http}"
    code, shown, said = run(
        "import", "consul-snapshot", "--format", "json", *words, address=address
    )
    report: dict[str, Any] = json.loads(shown)
    assert (code, said) == (bool(report["Problems"]), "")
    return report


def check_others(made: Cluster) -> None:
    """All that is neither catalog nor keys."""
    server = made.servers[0]
    (session,) = server.get(f"/v1/session/info/{consul.SESSION}")
    assert session["Name"] == "leader of batch"
    assert session["LockDelay"] == 15_000_000_000
    (query,) = server.get(f"/v1/query/{consul.QUERY}")
    assert query["Service"]["Failover"]["Datacenters"] == ["dc2"]
    assert query["DNS"]["TTL"] == "10s"
    assert server.get("/v1/coordinate/node/n1")[0]["Coord"]["Error"] == 0.5
    pilot = server.get("/v1/operator/autopilot/configuration")
    assert pilot["LastContactThreshold"] == "300ms"
    path = str(made.folder / "after.snap")
    assert server.meshctl("snapshot", "save", path).returncode == 0
    decoded = server.meshctl("snapshot", "decode", path).stdout.splitlines()
    (entry,) = (json.loads(line)["Data"] for line in decoded if '"Type":"entries"' in line)
    assert (entry["kind"], entry["name"]) == ("service-resolver", "web")
    assert entry["body"] == {
        "DefaultSubset": "v1",
        "Subsets": {"v1": {"Filter": "Service.Meta.v == 1"}},
        "ConnectTimeout": "5s",
    }


def test_everything_comes_as_it_was_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "consul.snap"
    file.write_bytes(consul.snapshot(consul.typical()))
    with cluster(tmp_path, 1, 0) as made:
        server = made.servers[0]
        server.put("/v1/kv/own", b"stays")
        report = imported(made, str(file))
        assert report["Problems"] == []
        counts = {name: (one["Found"], one["Imported"]) for name, one in report["Types"].items()}
        assert counts["Register"] == (6, 3)
        assert counts["KVS"] == (3, 3)
        assert counts["ACLToken"] == counts["type 99"] == counts["Peering"] == (1, 0)
        (web,) = server.get("/v1/health/service/web")
        assert web["Node"]["ID"] == consul.NODE_ID
        assert web["Node"]["Meta"] == {"rack": "r1"}
        assert web["Service"]["Weights"] == {"Passing": 5, "Warning": 0}
        assert {one["CheckID"]: one["Status"] for one in web["Checks"]} == {"up": "warning"}
        assert web["Checks"][0]["Definition"]["Interval"] == "10s"
        (held,) = server.get("/v1/kv/lock/batch")
        assert (held["Session"], held["LockIndex"]) == (consul.SESSION, 3)
        assert held["Flags"] == 2**63 + 5
        check_others(made)
        (value,) = server.get("/v1/kv/app/config")
        assert base64.b64decode(value["Value"]) == b"\xff\x00\xfe not text"
        assert server.get("/v1/kv/own")[0]["Value"] == base64.b64encode(b"stays").decode()
        assert server.put(f"/v1/session/destroy/{consul.SESSION}") is True
        assert "Session" not in server.get("/v1/kv/lock/batch")[0]
        report = imported(made, str(file))
        assert report["Changed"] == 2  # The session and its lock are there again, nothing else.
        assert imported(made, str(file))["Changed"] == 0
        assert imported(made, "--prefix", "old/", str(file))["Changed"] == 3
        assert server.get("/v1/kv/old/?keys") == [
            "old/app/config",
            "old/app/empty",
            "old/lock/batch",
        ]


def test_what_does_not_fit_is_named_and_the_rest_comes(tmp_path: Path) -> None:
    file = tmp_path / "consul.snap"
    records = [
        consul.register("n1"),
        consul.session("ghost"),
        consul.key("fits", b"1"),
        consul.key("held", b"1", consul.SESSION),
        consul.key("large", b"x" * 1_100_000),
        consul.register("", Service=consul.service("nameless")),
        (3, consul._packed({"no": "session"})),
    ]
    file.write_bytes(consul.snapshot(records))
    with cluster(tmp_path, 1, 0) as made:
        report = imported(made, str(file))
        assert made.servers[0].get("/v1/kv/?keys") == ["fits"]
    words = "\n".join(report["Problems"])
    assert f'Session {consul.SESSION}: session {consul.SESSION}: there is no node "ghost"' in words
    assert f'KVS held: key "held": there is no session {consul.SESSION}' in words
    assert "KVS large" in words
    assert "Register: Node: must not be empty" in words
    assert "Session: KeyError('ID')" in words
    assert len(report["Problems"]) == 5


def test_a_dry_run_asks_nobody_and_bad_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "consul.snap"
    whole = consul.snapshot(consul.typical())
    file.write_bytes(whole)
    code, shown, said = run("import", "consul-snapshot", "--dry-run", str(file))
    assert code == 0
    assert "Nothing was written" in said
    assert any(line.split()[:4] == ["KVS", "3", "3", "0"] for line in shown.splitlines())
    assert "access control" in shown
    state = consul.state(consul.typical())
    for bad, words in (
        (whole[:-40], "is cut short"),
        (b"text", "no snapshot at all"),
        (consul.snapshot([(0xC0, b"")]), "a record does not begin with its type"),
        (consul.snapshot([(2, b"")]), "ends within a record"),
        (consul.snapshot([(2, b"\x85\xa1")]), "ends within a record"),
    ):
        file.write_bytes(bad)
        code, _, said = run("import", "consul-snapshot", str(file))
        assert code == 1
        assert str(file) in said
        assert words in said
    assert state.startswith(b"\x81\xa9LastIndex")


def test_an_agent_that_is_gone_breaks_it_off(tmp_path: Path) -> None:
    file = tmp_path / "consul.snap"
    file.write_bytes(consul.snapshot(consul.typical()))
    code, _, said = run("import", "consul-snapshot", str(file))
    assert code == 1
    assert "cannot reach the mesh agent" in said
    assert "Run it again" in said


@pytest.mark.parametrize("which", ["restore", "inspect"])
def test_mesh_says_what_to_do_with_a_snapshot_of_consul(which: str, tmp_path: Path) -> None:
    file = tmp_path / "consul.snap"
    file.write_bytes(consul.snapshot(consul.typical()))
    code, _, said = run("snapshot", which, str(file))
    assert code == 1
    assert "meshctl import consul-snapshot" in said


def test_entries_are_stored_as_if_they_had_been_written() -> None:
    source = {"Name": "web", "Action": "allow", "Precedence": 9, "Type": "consul", "Peer": ""}
    body = {"Kind": "service-intentions", "Name": "db", "Sources": [source], "Meta": None}
    made = consul_rows.entry(body, "")
    assert made.body == kinds.written("service-intentions", "db", {"Sources": [source]})
    peered = {**body, "Sources": [source, {**source, "Peer": "east"}]}
    assert consul_rows.entry(peered, "").body["Sources"][1]["Peer"] == "east"
    mesh = consul_rows.entry({"Kind": "mesh", "HTTP": {"SanitizeXForwardedClientCert": True}}, "")
    assert (mesh.name, mesh.body) == ("mesh", {"HTTP": {"SanitizeXForwardedClientCert": True}})
    router = consul_rows.entry({"Kind": "service-router", "Name": "db", "Routes": [{"a": 1}]}, "")
    assert router.body == {"Routes": [{"a": 1}]}
