"""Bad days of meshd, as real processes: one clear line, an exit code, and data left alone."""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mesh import __version__
from mesh.datadir import open_directory
from mesh.raft.epochs import Epochs
from mesh.raft.journal import TERM, Batch, Record, Segments, pack_record
from tests.cluster.processes import TOP, Meshd, eventually
from tests.daemon.network import network

pytestmark = pytest.mark.together
ADDRESS = network(9)
LOG_LEVELS = ("[DEBUG]", "[INFO]", "[WARN]", "[ERROR]", "[CRITICAL]")


def meshd(*arguments: str) -> tuple[int, str, str]:
    """Run meshd until it ends; exit code, standard output and error."""
    done = subprocess.run(
        [sys.executable, "-m", "mesh.daemon", *arguments],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return done.returncode, done.stdout, done.stderr


@contextmanager
def running(*nodes: Meshd) -> Iterator[None]:
    """Start the nodes; at the end kill what still runs."""
    try:
        for node in nodes:
            node.start()
        yield
    except BaseException:
        for node in nodes:
            print(f"---- {node.name} ----\n{node.log()[-4000:]}")
        raise
    finally:
        for node in nodes:
            node.kill()


def server(folder: Path, name: str = "s1", **config: Any) -> Meshd:
    return Meshd(name, ADDRESS, folder / name, {"server": True, "bootstrap": True, **config})


def refused(node: Meshd, *words: str) -> str:
    """Run a node that must not start: its complaint is one line, the last, with these words."""
    node.start()
    assert node.process is not None
    assert node.process.wait(60) == 1, node.log()
    lines = node.log().splitlines()
    plain = [line for line in lines if line.startswith("meshd: ")]
    assert len(plain) == 1, node.log()
    assert "Traceback" not in node.log()
    for word in words:
        assert word in plain[0]
    return plain[0]


def ready(node: Meshd) -> bool:
    return node.leads() and bool(node.get("/v1/catalog/nodes"))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("port", ["server", "lan", "http", "dns"])
def test_a_port_in_use_is_named(tmp_path: Path, port: str) -> None:
    node = server(tmp_path)
    number = getattr(node, port)
    with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
        stream.bind((ADDRESS, number))
        stream.listen()
        datagram.bind((ADDRESS, number))
        refused(node, "cannot", ADDRESS, str(number))


def test_a_data_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(server(tmp_path, data_dir=str(tmp_path / "file" / "data")), "data_dir", "file/data")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_in_the_way_inside_the_data_directory_is_named(tmp_path: Path) -> None:
    node = server(tmp_path)
    with running(node):
        eventually(lambda: ready(node))
    data = Path(node.config["data_dir"])
    (data / "serf").rename(data / "elsewhere")
    (data / "serf").write_text("mine")
    refused(node, "serf")


def test_a_foreign_data_directory_is_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "theirs"
    data.mkdir()
    (data / "precious.db").write_bytes(b"\x00\x01")
    before = files(data)
    refused(server(tmp_path, data_dir=str(data)), "data_dir", "precious.db")
    assert files(data) == before


def test_a_second_process_on_the_same_data_is_refused(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    first = server(tmp_path, pid_file=str(pid_file))
    with running(first):
        eventually(lambda: ready(first))
        assert first.process is not None
        pid = f"{first.process.pid}\n"
        eventually(lambda: pid_file.read_text() == pid)
        data = first.config["data_dir"]
        second = server(tmp_path, "s2", data_dir=data, pid_file=str(pid_file))
        refused(second, "another mesh process uses it")
        assert first.put("/v1/kv/still", b"here") is True
        assert pid_file.read_text() == pid
        assert first.stop() == 0
    assert not pid_file.exists()


def kept(tmp_path: Path) -> tuple[Meshd, Path]:
    """A stopped server that holds `k1`, and the folder of its log."""
    node = server(tmp_path)
    with running(node):
        eventually(lambda: ready(node))
        assert node.put("/v1/kv/k1", b"v1") is True
        assert node.stop() == 0
    raft = Path(node.config["data_dir"], "raft")
    place = Epochs(str(raft)).load()
    assert place is not None
    return node, Path(Epochs(str(raft)).folder(place.epoch.number))


def has_key(node: Meshd) -> bool:
    (pair,) = node.get("/v1/kv/k1")
    return base64.b64decode(pair["Value"]) == b"v1"


def test_a_damaged_sealed_segment_is_named_and_mends_when_restored(tmp_path: Path) -> None:
    node, folder = kept(tmp_path)
    # A limit of one byte seals the segment at the next write.
    segments = Segments(str(folder / "journal"), segment_bytes=1)
    terms = [record.term for record in segments.open(fresh=False) if record.kind == TERM]
    record = pack_record(Record(TERM, 0, terms[-1] + 1, b""))
    segments.store(Batch([record], terms[-1] + 1, "", 0))
    segments.close()
    sealed, _ = sorted((folder / "journal").glob("*.journal"))
    good = sealed.read_bytes()
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 1
    sealed.write_bytes(bad)
    before = files(folder)
    refused(node, str(sealed), "damaged at byte")
    assert files(folder) == before
    sealed.write_bytes(good)
    with running(node):
        eventually(lambda: has_key(node))


def test_a_damaged_snapshot_is_named_and_left_alone(tmp_path: Path) -> None:
    node = server(tmp_path, raft_snapshot_threshold=64, raft_snapshot_interval="0s")
    with running(node):
        eventually(lambda: ready(node))
        node.put("/v1/kv/k1", b"v1")
        for number in range(70):
            node.put(f"/v1/kv/more/{number}", b"x")
        data = Path(node.config["data_dir"])
        (snapshot,) = eventually(lambda: list((data / "raft").rglob("*.snapshot")))
        node.kill()
    good = snapshot.read_bytes()
    bad = bytearray(good)
    bad[-3] ^= 1
    snapshot.write_bytes(bad)
    before = files(data / "raft")
    refused(node, str(snapshot), "checksum")
    assert files(data / "raft") == before
    snapshot.write_bytes(good)
    with running(node):
        eventually(lambda: has_key(node))


def test_all_errors_of_a_configuration_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text(json.dumps({"prots": {}, "server": "maybe", "retry_interval": "soon"}))
    code, out, err = meshd("agent", "-config-file", str(file), "-data-dir", str(tmp_path / "d"))
    assert (code, out) == (1, "")
    for word in ("prots", "server", "retry_interval"):
        assert any(str(file) in line and word in line for line in err.splitlines()), err
    assert "Traceback" not in err
    assert not (tmp_path / "d").exists()
    assert meshd("validate", str(file))[0] == 1


def test_commands_and_their_exit_codes(tmp_path: Path) -> None:
    code, out, err = meshd("sever")
    assert (code, out) == (2, "")
    assert err.startswith('meshd: unknown command "sever"\n')
    assert meshd()[0] == 2
    code, out, err = meshd("version", "-format=json")
    assert (code, json.loads(out)["Version"], err) == (0, __version__, "")
    (tmp_path / "good.json").write_text('{"log_level": "WARN", "data_dir": "/nowhere"}')
    assert meshd("validate", str(tmp_path)) == (0, "Configuration is valid!\n", "")
    assert meshd("validate")[0] == 2
    code, _, err = meshd("agent", "-no-such-flag")
    assert code == 1
    assert "no-such-flag" in err


def test_a_killed_server_comes_back_as_itself(tmp_path: Path) -> None:
    node = server(tmp_path)
    with running(node):
        eventually(lambda: ready(node))
        known = node.get("/v1/agent/self")["Config"]["NodeID"]
        node.put("/v1/kv/k1", b"v1")
        node.kill()
        node.start()
        eventually(lambda: has_key(node))
        assert node.get("/v1/agent/self")["Config"]["NodeID"] == known


def statuses(node: Meshd) -> dict[str, int]:
    return {one["Name"]: one["Status"] for one in node.get("/v1/agent/members")}


def pair(tmp_path: Path) -> tuple[Meshd, Meshd]:
    """A server and an agent that joins it."""
    first = server(tmp_path)
    second = Meshd("a1", network(10), tmp_path / "a1", {"retry_join": [first.joinable]})
    return first, second


def test_signals_leave_reload_and_stop(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    web = {"id": "web", "name": "web", "port": 80}
    second.config["services"] = [web]
    with running(first, second):
        eventually(lambda: first.srv_ports("web") == {80})
        config = tmp_path / "a1" / "config.json"
        config.write_text(json.dumps({**second.config, "services": [{**web, "port": 81}]}))
        second.signal(signal.SIGHUP)
        eventually(lambda: first.srv_ports("web") == {81})
        config.write_text('{"services": 7}')
        second.signal(signal.SIGHUP)
        eventually(lambda: "nothing was changed" in second.log())
        assert first.srv_ports("web") == {81}
        assert second.stop() == 0
        eventually(lambda: statuses(first)["a1"] == 3)
        second.start()
        eventually(lambda: statuses(first)["a1"] == 1)
        # A server stops without leaving: it will come back.
        assert first.stop() == 0
        eventually(lambda: statuses(second)["s1"] == 4)


def test_a_second_signal_gives_leaving_up(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    with running(first, second):
        eventually(lambda: statuses(second).get("s1") == 1)
        second.signal(signal.SIGTERM)
        eventually(lambda: "leaving the pool" in second.log())
        assert second.stop(5) == 1
        assert "Traceback" not in second.log()


def test_signals_stop_a_server_that_blocks_readers(tmp_path: Path) -> None:
    first, _ = pair(tmp_path)
    with running(first), socket.socket() as stream:
        eventually(lambda: ready(first))
        first.put("/v1/kv/k1", b"v1")
        index = first.get("/v1/kv/k1")[0]["ModifyIndex"]
        stream.connect((first.address, first.http))
        ask = f"GET /v1/kv/k1?index={index}&wait=60s HTTP/1.1\r\nHost: m\r\n\r\n"
        stream.sendall(ask.encode())
        assert first.stop(8) == 0
        assert "Traceback" not in first.log()


def test_a_crash_while_the_marker_was_written_is_no_foreign_file(tmp_path: Path) -> None:
    (tmp_path / "mesh.json.new").write_text('{"for')
    (tmp_path / "lock").write_text("")
    opened = open_directory(str(tmp_path), "id")
    assert opened.node_id == "id"
    opened.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "mesh.json"]


def test_a_node_whose_name_is_another_ones_ends_with_one_line(tmp_path: Path) -> None:
    first = server(tmp_path)
    join = {"retry_join": [first.joinable]}
    others = [
        Meshd(name, network(20 + number), tmp_path / name, join)
        for number, name in enumerate(("a1", "a2"))
    ]
    double = Meshd("a1", network(23), tmp_path / "double", join)
    with running(first, *others):
        eventually(lambda: len(first.get("/v1/agent/members")) == 3)
        try:
            refused(double, "a1 is another node for 2 of 2 members", "a name of its own")
        finally:
            double.kill()
        members = {member["Name"]: member for member in first.get("/v1/agent/members")}
        assert members["a1"]["Addr"] == others[0].address
        assert {member["Status"] for member in members.values()} == {1}
