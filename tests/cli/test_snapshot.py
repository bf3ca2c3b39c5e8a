"""meshctl snapshot: files that are whole or not there, and what they hold."""

from __future__ import annotations

import io
import json
from hashlib import sha256
from pathlib import Path

import pytest

from mesh.cli import main
from mesh.registry import catalog, kv
from mesh.registry.requests import TABLES
from mesh.store.archive import Meta, Table, compressed
from mesh.store.database import Database
from mesh.store.export import Export
from tests.client.scripted import Scripted


def archive() -> bytes:
    """A snapshot of three keys and a node."""
    database = Database(TABLES)
    transaction = database.begin(9)
    for key in ("app/a/1", "app/b/2", "other"):
        kv.Set(key, b"\xff" * 10).apply(transaction)
    catalog.Register(node=catalog.Node(name="n1", address="10.0.0.1")).apply(transaction)
    transaction.commit()
    export = Export(database.contents.values(), 9, 4)
    state = b"".join(export)
    meta = Meta(
        id="2-9-1000",
        index=9,
        term=2,
        level=4,
        time="2026-01-02T03:04:05Z",
        datacenter="dc1",
        server="s1",
        status="leader",
        mesh="1.2.3",
        size=len(state),
        digest=export.digest.hex(),
        tables={name: Table(one.rows, one.bytes) for name, one in export.tally.items()},
    )
    return b"".join(compressed(meta, [state], sha256(state).hexdigest()))


def run(*words: str, address: str = "127.0.0.1:1") -> tuple[int, str, str]:
    stdout, stderr = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    process = main.Process({"MESH_HTTP_ADDR": address}, io.BytesIO(), stdout, stderr)
    code = main.run(words, process)
    stdout.flush()
    assert isinstance(stdout.buffer, io.BytesIO)
    return code, stdout.buffer.getvalue().decode(), stderr.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "backup.snap"
    path.write_bytes(archive())
    return path


def test_inspect_shows_what_is_in_it(file: Path) -> None:
    code, shown, _ = run("snapshot", "inspect", "-kvdetails", "-kvdepth", "1", str(file))
    assert code == 0
    words = [line.split() for line in shown.splitlines()]
    assert ["ID", "2-9-1000"] in words
    assert ["Server", "s1", "(leader)"] in words
    assert next(line for line in words if line[:1] == ["kv"])[:2] == ["kv", "3"]
    assert ["app", "2", "34B"] in words
    code, shown, _ = run(
        "snapshot", "inspect", "-kvdetails", "-kvfilter", "app/a", "-format", "json", str(file)
    )
    found = json.loads(shown)
    assert found["Meta"]["ID"] == "2-9-1000"
    assert found["StatsKV"] == [{"Name": "app/a", "Count": 1, "Sum": 17}]
    assert {one["Name"]: one["Count"] for one in found["Stats"]} == {"kv": 3, "nodes": 1}


def test_decode_prints_each_record(file: Path) -> None:
    code, shown, _ = run("snapshot", "decode", str(file))
    assert code == 0
    found = [json.loads(line) for line in shown.splitlines()]
    assert sorted(one["Type"] for one in found) == ["kv", "kv", "kv", "nodes"]
    assert [one["Data"]["key"] for one in found if one["Type"] == "kv"] == [
        "app/a/1",
        "app/b/2",
        "other",
    ]


@pytest.mark.parametrize("command", ["inspect", "decode", "restore"])
def test_a_file_that_is_bad_is_named(command: str, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])
    code, _, said = run("snapshot", command, str(file))
    assert code == 1
    assert said == f"meshctl: {file} is cut short\n"
    code, _, said = run("snapshot", command, f"{file}.missing")
    assert (code, said) == (1, f"meshctl: {file}.missing: No such file or directory\n")


def test_save_leaves_a_whole_file_or_none(tmp_path: Path) -> None:
    with Scripted() as server:
        for body in (archive(), archive(), archive()[:-9]):
            server.on("GET", "/v1/snapshot", body)
        server.on("GET", "/v1/snapshot", "No cluster leader", status=500)
        path = tmp_path / "b.snap"
        code, shown, said = run("snapshot", "save", str(path), address=server.address)
        assert (code, said) == (0, "")
        assert shown.startswith(f"Saved and verified snapshot to index 9: {path}")
        assert path.read_bytes() == archive()
        assert path.stat().st_mode & 0o777 == 0o600
        code, shown, _ = run(
            "snapshot",
            "save",
            "-append-filename",
            "version,dc,node,status",
            "-format=json",
            str(path),
            address=server.address,
        )
        assert json.loads(shown)["Path"] == str(tmp_path / "b-1.2.3-dc1-s1-leader.snap")
        code, _, said = run("snapshot", "save", str(tmp_path / "c.snap"), address=server.address)
        assert code == 1
        assert "is cut short" in said
        code, _, said = run("snapshot", "save", str(tmp_path / "c.snap"), address=server.address)
        assert (code, said) == (1, "meshctl: No cluster leader\n")
    code, _, said = run("snapshot", "save", str(tmp_path / "c.snap"))
    assert code == 1
    assert "cannot reach" in said
    code, _, said = run("snapshot", "save", str(tmp_path / "nowhere" / "c.snap"))
    assert code == 1
    assert "cannot save to" in said
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "b-1.2.3-dc1-s1-leader.snap",
        "b.snap",
    ]
