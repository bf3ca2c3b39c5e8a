"""Keys of gossip: files of the keyring, and real nodes with the same key, another one or none."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.config.load import Sources, load
from mesh.config.schema import Config
from mesh.daemon.keyrings import LAN, WAN, open_keyring
from mesh.errors import Conflict, Invalid
from mesh.gossip.keytext import read_key, write_key
from tests.cluster.processes import Meshd, eventually
from tests.daemon.network import network
from tests.daemon.test_main import meshd, ready, running, server

pytestmark = pytest.mark.together

A, B = write_key(b"a" * 16), write_key(b"b" * 32)


def config(folder: Path, **settings: object) -> Config:
    given = {"data_dir": str(folder), "node_name": "n", "bind_addr": "127.0.0.1", **settings}
    return load(Sources(settings=[(key, value, "test") for key, value in given.items()]))


def test_the_key_of_the_configuration_begins_the_file(tmp_path: Path) -> None:
    assert open_keyring(config(tmp_path), str(tmp_path)) is None
    assert not list(tmp_path.iterdir())
    keys = open_keyring(config(tmp_path, encrypt=A), str(tmp_path))
    assert keys is not None
    file = tmp_path / LAN
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text()) == [A]
    keys.install(read_key(B))
    keys.use(read_key(B))
    assert json.loads(file.read_text()) == [B, A]
    assert file.stat().st_mode & 0o777 == 0o600
    keys.remove(read_key(A))
    assert json.loads(file.read_text()) == [B]
    assert [one.name for one in tmp_path.iterdir()] == [LAN]


def test_the_file_counts_once_it_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / LAN).write_text(json.dumps([B, A]))
    for settings in ({}, {"encrypt": A}):
        keys = open_keyring(config(tmp_path, **settings), str(tmp_path))
        assert keys is not None
        assert keys.list() == [read_key(B), read_key(A)]
    assert f"keys in {tmp_path / LAN}" in caplog.text
    assert "not in" not in caplog.text
    other = write_key(b"c" * 24)
    keys = open_keyring(config(tmp_path, encrypt=other), str(tmp_path))
    assert keys is not None
    assert keys.list() == [read_key(B), read_key(A)]
    assert f"a key that is not in {tmp_path / LAN}" in caplog.text
    # The other pool has a file of its own.
    keys = open_keyring(config(tmp_path, encrypt=other), str(tmp_path), WAN)
    assert keys is not None
    assert keys.list() == [read_key(other)]


def test_without_the_file_keys_are_only_in_memory(tmp_path: Path) -> None:
    (tmp_path / LAN).write_text(json.dumps([B]))
    keys = open_keyring(config(tmp_path, encrypt=A, disable_keyring_file=True), str(tmp_path))
    assert keys is not None
    keys.install(read_key(B))
    assert json.loads((tmp_path / LAN).read_text()) == [B]
    assert keys.list() == [read_key(A), read_key(B)]
    assert open_keyring(config(tmp_path, disable_keyring_file=True), str(tmp_path)) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "damaged"),
        ("{}", "damaged"),
        ("[]", "holds no key"),
        ('["MTIz"]', "key 1: expected a key of 16, 24 or 32 bytes"),
        (f'["{A}", "x"]', "key 2: expected a key of 16, 24 or 32 bytes"),
    ],
)
def test_a_file_that_cannot_be_says_what_to_do(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / LAN).write_text(text)
    with pytest.raises(Invalid, match=f"{re.escape(str(tmp_path / LAN))}: .*{words}.*remove"):
        open_keyring(config(tmp_path, encrypt=A), str(tmp_path))


def test_keys_that_cannot_be_kept_do_not_change(tmp_path: Path) -> None:
    keys = open_keyring(config(tmp_path, encrypt=A), str(tmp_path))
    assert keys is not None
    # In the way of the new file, whoever the tests run as.
    (tmp_path / f"{LAN}.new").mkdir()
    with pytest.raises(Conflict, match="cannot be written"):
        keys.install(read_key(B))
    assert keys.list() == [read_key(A)]
    assert json.loads((tmp_path / LAN).read_text()) == [A]


def test_nodes_of_one_key_meet_and_others_are_told_why(tmp_path: Path) -> None:
    first = server(tmp_path, encrypt=A, gossip_label="east")
    same = Meshd(
        "a1",
        network(10),
        tmp_path / "a1",
        {"retry_join": [first.joinable], "encrypt": A, "gossip_label": "east"},
    )
    settings = {"retry_join": [first.joinable], "gossip_label": "east"}
    other = Meshd("a2", network(11), tmp_path / "a2", {**settings, "encrypt": B})
    bare = Meshd("a3", network(12), tmp_path / "a3", settings)
    with running(first, same, other, bare):
        eventually(lambda: ready(first))
        eventually(lambda: len(same.get("/v1/agent/members")) == 2)
        eventually(lambda: "is not encrypted with a key of this node" in other.log())
        eventually(lambda: "this node has no key" in bare.log())
        for stranger in (other, bare):
            assert "give every node of the pool the same key" in stranger.log()
            assert len(stranger.get("/v1/agent/members")) == 1
        eventually(lambda: "the same key (option encrypt)" in first.log())
        gossip = first.get("/v1/agent/self")["Stats"]["serf_lan"]
        assert gossip["encrypted"] == "true"
        assert int(gossip["streams_unauthenticated"]) >= 2
        assert bare.get("/v1/agent/self")["Stats"]["serf_lan"]["encrypted"] == "false"
        assert A not in first.log()
        kept = Path(first.config["data_dir"], "serf", LAN)
        assert json.loads(kept.read_text()) == [A]


def test_a_key_that_is_none_is_refused_with_the_way_to_make_one(tmp_path: Path) -> None:
    code, _, err = meshd("agent", "-data-dir", str(tmp_path), "-encrypt", "abc")
    assert code == 1
    assert "encrypt: expected a key of 16, 24 or 32 bytes in base64" in err
    assert "meshctl keygen" in err
    file = tmp_path / "label.json"
    file.write_text(json.dumps({"gossip_label": "x" * 256}))
    code, _, err = meshd("validate", str(file))
    assert (code, "gossip_label: expected at most 251 bytes" in err) == (1, True)


def test_keygen_makes_a_key_that_a_node_takes() -> None:
    command = [sys.executable, "-m", "mesh.cli.main", "keygen"]
    keys = {
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    }
    assert len(keys) == 2
    assert {len(read_key(key)) for key in keys} == {32}
