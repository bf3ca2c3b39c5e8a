"""The support bundle: what is in it, and what must not be."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from mesh.cli import main
from mesh.cli.debug import HIDDEN, redacted
from tests.client.scripted import Scripted


def run(server: Scripted, *words: str) -> tuple[int, str, str]:
    stdout, stderr = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    process = main.Process({"MESH_HTTP_ADDR": server.address}, io.BytesIO(), stdout, stderr)
    code = main.run(["debug", *words], process)
    stdout.flush()
    assert isinstance(stdout.buffer, io.BytesIO)
    return code, stdout.buffer.getvalue().decode(), stderr.getvalue()


def script(server: Scripted) -> None:
    secret = json.dumps({"DebugConfig": {"ACLToken": "s3cret", "Encrypt": "s3cret", "Port": 1}})
    server.on("GET", "/v1/agent/self", secret)
    server.on("GET", "/v1/agent/members", "[]")
    server.on("GET", "/v1/agent/metrics", '{"Gauges": []}')
    server.on("GET", "/v1/agent/monitor?loglevel=debug", 'token=s3cret and "secret": "s3cret"\\n')


def test_an_archive_without_secrets(tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    with Scripted() as server:
        script(server)
        code, said, noted = run(server, "-duration", "100ms", "-output", str(output))
    archive = tmp_path / "bundle.tar.gz"
    assert (code, str(archive) in said) == (0, True)
    assert archive.stat().st_mode & 0o777 == 0o600
    found: dict[str, bytes] = {}
    with tarfile.open(archive) as packed:
        for member in packed.getmembers():
            file = packed.extractfile(member)
            assert file is not None
            found[member.name.removeprefix("bundle/")] = file.read()
    assert {"agent.json", "members.json", "metrics-000.json", "agent.log", "index.json"} <= {*found}
    assert not [name for name, data in found.items() if b"s3cret" in data]
    assert json.loads(found["agent.json"])["DebugConfig"]["Port"] == 1
    index = json.loads(found["index.json"])
    assert {*index["Files"]} | {"index.json"} == {*found}
    assert "host.json" in index["Failed"]
    assert "host.json" in noted


def test_a_folder_with_some_of_it(tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    with Scripted() as server:
        script(server)
        words = ("-capture", "members", "-archive=false", "-output", str(output))
        assert run(server, *words, "-duration", "0s", "-format", "json")[0] == 0
        assert sorted(one.name for one in output.iterdir()) == ["index.json", "members.json"]
        code, _, noted = run(server, *words)
        assert (code, "is there already" in noted) == (2, True)
        code, _, noted = run(server, "-interval", "1s")
        assert (code, "at least 5s" in noted) == (2, True)


def test_what_is_hidden() -> None:
    given: Any = {"Token": "a", "ports": {"http": 1}, "keys": "a", "ssl_key": ["a"], "Key": ""}
    assert redacted(given) == {
        "Token": HIDDEN,
        "ports": {"http": 1},
        "keys": "a",
        "ssl_key": [HIDDEN],
        "Key": "",
    }
