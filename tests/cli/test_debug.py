"""The support bundle: what is in it, and what must not be."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from mesh.cli import main
from mesh.cli.debug import HIDDEN, cleaned, redacted
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


def test_it_may_begin_with_what_the_log_still_has(tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    with Scripted() as server:
        server.on("GET", "/v1/agent/monitor?loglevel=debug&since=10m", "before\n")
        words = ("-since", "10m", "-capture", "logs", "-archive=false", "-output", str(output))
        assert run(server, *words, "-duration", "100ms")[0] == 0
        code, _, noted = run(server, "-since", "soon", "-output", str(tmp_path / "other"))
    assert (output / "agent.log").read_text().startswith("before\n")
    assert (code, "--since" in noted) == (2, True)
    assert output.stat().st_mode & 0o777 == 0o700
    assert {one.stat().st_mode & 0o777 for one in output.iterdir()} == {0o600}


def test_what_is_hidden_in_what_is_secret_and_in_texts() -> None:
    given: Any = {
        "tokens": {"default": "s3cret", "more": ["s3cret"]},
        "checks": [{"Header": {"Authorization": ["Bearer s3cret"]}, "http": "http://u:s3cret@h/"}],
        "retry_join": ["provider=aws secret_access_key=s3cret region=x"],
        "gossipKey": "s3cret",
        "body": "password s3cret",
        "args": ["curl", "-H", "Authorization: Bearer s3cret", "Cookie: s3cret"],
        "key_file": "/etc/key.pem",
    }
    found = redacted(given)
    assert "s3cret" not in json.dumps(found)
    assert found["checks"][0]["http"] == f"http://u:{HIDDEN}@h/"
    assert found["retry_join"][0].endswith("region=x")
    assert found["key_file"] == "/etc/key.pem"
    pem = "a\n-----BEGIN EC PRIVATE KEY-----\ns3cret\n-----END EC PRIVATE KEY-----\nb"
    assert cleaned(pem) == f"a\n{HIDDEN}\nb"
    assert cleaned('{"token": "s3 cret", "port": 1}') == f'{{"token": {HIDDEN}, "port": 1}}'


def test_what_is_hidden() -> None:
    given: Any = {"Token": "a", "ports": {"http": 1}, "keys": "a", "ssl_key": ["a"], "Key": ""}
    assert redacted(given) == {
        "Token": HIDDEN,
        "ports": {"http": 1},
        "keys": "a",
        "ssl_key": [HIDDEN],
        "Key": "",
    }
