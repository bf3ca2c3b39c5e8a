"""Certificates of real nodes: without them none starts, and a reload replaces them."""

from __future__ import annotations

import io
import json
import re
import signal
import ssl
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.main import Process, run
from mesh.daemon.encryption import spares
from mesh.errors import Conflict
from mesh.registry.revocations import Revoke
from mesh.revocation import read
from tests.certificates import DAY, AtTime, Certificates
from tests.cluster.processes import PLAIN, TOP, Meshd, certificates, cluster, eventually
from tests.daemon.network import network
from tests.daemon.test_main import meshd, ready, refused, running, server

pytestmark = pytest.mark.together


def agent(folder: Path, first: Meshd, tls: dict[str, Any], name: str = "a1") -> Meshd:
    config = {"retry_join": [first.joinable], "tls": tls}
    return Meshd(name, network(10), folder / name, config)


def reload(node: Meshd) -> None:
    """Have it read its certificates again, and wait until it did."""
    before = node.log().count("reload: ")
    node.signal(signal.SIGHUP)
    eventually(lambda: node.log().count("reload: ") > before)


def knows_leader(node: Meshd) -> bool:
    return bool(node.get("/v1/status/leader")) and bool(node.get("/v1/catalog/nodes"))


def test_without_certificates_nothing_starts_but_says_how_to_make_them(tmp_path: Path) -> None:
    node = server(tmp_path, tls={})
    words = ("meshctl tls ca create", "meshctl tls cert create -server -node s1", "ca_file")
    refused(node, *words, "cert_file", "key_file", "-plaintext-rpc")
    assert not Path(node.config["data_dir"]).exists()
    refused(agent(tmp_path, node, {}), "meshctl tls cert create -client", "-plaintext-rpc")
    elsewhere = Meshd(
        "b1", network(11), tmp_path / "b1", {"tls": {}, "datacenter": "east", "domain": "lan"}
    )
    advice = "`meshctl tls ca create -domain lan` and `meshctl tls cert create -client -dc east"
    refused(elsewhere, f"{advice} -domain lan`")


def test_plain_tcp_is_for_who_asks_by_name(tmp_path: Path) -> None:
    first = server(tmp_path, tls=PLAIN)
    second = agent(tmp_path, first, PLAIN)
    with running(first, second):
        eventually(lambda: knows_leader(second))
    # -dev needs no certificates either.
    dev = Meshd("dev", network(9), tmp_path / "dev", {"tls": {}})
    del dev.config["data_dir"]
    dev.flags = ["-dev"]
    with running(dev):
        eventually(lambda: ready(dev))


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        (
            {"defaults": {"cert_file": "a", "ca_file": "b"}},
            "tls.defaults.key_file: required together with tls.defaults.cert_file",
        ),
        (
            {"internal_rpc": {"cert_file": "a", "key_file": "b"}},
            "tls.defaults.ca_file: required together with tls.internal_rpc.cert_file",
        ),
        (
            {"internal_rpc": {"plaintext": True, "verify_incoming": True}},
            "tls.internal_rpc.verify_incoming: cannot be set together with",
        ),
        (
            {"defaults": {"tls_min_version": "TLSv1_0"}},
            'tls.defaults.tls_min_version: expected TLSv1_2 or TLSv1_3, got "TLSv1_0"',
        ),
    ],
)
def test_half_a_configuration_is_refused(tmp_path: Path, tls: dict[str, Any], words: str) -> None:
    file = tmp_path / "tls.json"
    file.write_text(json.dumps({"tls": tls}))
    code, _, err = meshd("agent", "-config-file", str(file), "-data-dir", str(tmp_path / "d"))
    assert code == 1
    assert [line for line in err.splitlines() if words in line], err
    assert meshd("validate", str(file))[0] == 1


def test_certificates_that_nobody_would_accept_are_refused_at_start(tmp_path: Path) -> None:
    made = Certificates(tmp_path / "made")
    expired = made.issue("server", "s1", AtTime(-10 * DAY), days=5)
    tls = made.config("server", "s1", expired)
    refused(server(tmp_path, tls=tls), "tls.defaults.cert_file", "server-s1.pem", "has expired")
    tls = made.config("server", "s2")
    node = server(tmp_path / "other", tls=tls)
    refused(node, "tls.defaults.cert_file", '"s2"', 'node_name is "s1"')
    assert not Path(node.config["data_dir"]).exists()


def test_an_agent_of_another_authority_stays_outside(tmp_path: Path) -> None:
    first = server(tmp_path)
    theirs = Certificates(tmp_path / "theirs")
    stranger = agent(tmp_path, first, theirs.config("client", "a1"))
    with running(first, stranger):
        eventually(lambda: ready(first))
        eventually(lambda: first.name in stranger.log())
        with pytest.raises(OSError, match="certificate"):
            stranger.get("/v1/catalog/nodes")
        names = {one["Node"] for one in first.get("/v1/catalog/nodes")}
        assert first.name in names
        eventually(lambda: "TLS handshake with" in first.log())
        assert first.get("/v1/agent/self")["Stats"]["rpc"]["handshakes_failed"]


def test_a_reload_replaces_certificates_and_authority(tmp_path: Path) -> None:
    made = Certificates(tmp_path / "made")
    newer = Certificates(tmp_path / "newer")
    first = server(tmp_path, tls=made.config("server", "s1"))
    second = agent(tmp_path, first, made.config("client", "a1"))
    old, new = made.ca.read_bytes(), newer.ca.read_bytes()
    with running(first, second):
        eventually(lambda: knows_leader(second))
        # What nobody could use is refused, and the node goes on with what it has.
        good = made.folder.joinpath("server-s1.pem").read_bytes()
        made.files("server-s1", newer.issue("server", "s1"))
        reload(first)
        assert "nothing was changed: tls.defaults.cert_file" in first.log()
        # First both trust the new authority too, then the certificates change, then the old goes.
        made.files("server-s1", made.issue("server", "s1"))
        assert made.folder.joinpath("server-s1.pem").read_bytes() != good
        made.ca.write_bytes(old + new)
        reload(first)
        reload(second)
        assert "certificates changed" in first.log()
        made.files("server-s1", newer.issue("server", "s1"))
        made.files("client-a1", newer.issue("client", "a1"))
        reload(first)
        reload(second)
        made.ca.write_bytes(new)
        reload(first)
        assert second.stop() == 0
        second.start()
        eventually(lambda: knows_leader(second))
        second.put("/v1/kv/a", b"1")
        assert first.process is not None
        assert first.process.poll() is None


def test_the_steps_of_the_page_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (TOP / "docs" / "tls.md").read_text()
    found = re.findall(r"```(console|hcl)\n(.*?)```", text, re.DOTALL)
    blocks = dict(reversed(found))  # The first of each.
    monkeypatch.chdir(tmp_path)
    shown = blocks["console"].splitlines()
    commands = [line.removeprefix("$ ") for line in shown if line.startswith("$ meshctl")]
    assert len(commands) == 5
    for line in commands:
        program, *words = line.split()
        assert program == "meshctl"
        quiet = io.StringIO()
        assert run(words, Process({}, io.BytesIO(), quiet, quiet)) == 0, quiet.getvalue()
    node = server(tmp_path)
    del node.config["tls"]
    (tmp_path / "tls.hcl").write_text(blocks["hcl"].replace("/etc/mesh", str(tmp_path)))
    node.flags = ["-config-file", str(tmp_path / "tls.hcl")]
    with running(node):
        eventually(lambda: ready(node))


def test_who_is_revoked_is_cut_off_until_it_is_taken_back(tmp_path: Path) -> None:
    made = Certificates(tmp_path / "made")
    first = server(tmp_path, tls=made.config("server", "s1"))
    lost = agent(tmp_path, first, made.config("client", "a1"))
    kept = agent(tmp_path, first, made.config("client", "a2"), "a2")
    kept.address = kept.config["bind_addr"] = kept.config["client_addr"] = network(11)
    file = str(made.folder / "client-a1.pem")
    with running(first, lost, kept):
        for node in (lost, kept):
            eventually(lambda node=node: knows_leader(node))  # type: ignore[misc]
        index = lost.put("/v1/kv/a", b"1") and lost.get("/v1/kv/a")[0]["ModifyIndex"]
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(lost.get, f"/v1/kv/a?index={index}&wait=10m")
            revoked(lost, kept, made)
            # Its connection was open, and would have stayed so for ten minutes.
            with pytest.raises(OSError, match="is revoked: laptop stolen"):
                waiting.result(30)
        assert knows_leader(kept)
        assert "is revoked: laptop stolen (revoked: 1 so far)" in first.log()
        assert "the server refuses this node" in lost.log()
        shown = kept.meshctl("tls", "revoked").stdout
        assert "laptop stolen" in shown
        assert "a1.client.dc1.mesh" in shown
        assert "a2/http/" in kept.meshctl("history", "--kind", "revocation").stdout
        # What is revoked outlives the server.
        assert first.stop() == 0
        first.start()
        eventually(lambda: ready(first) and turned_away(first, "revoked"))
        done = kept.meshctl("tls", "unrevoke", file)
        assert done.returncode == 0, done.stderr
        eventually(lambda: knows_leader(lost))
        lost.put("/v1/kv/a", b"1")


def revoked(lost: Meshd, kept: Meshd, made: Certificates) -> None:
    """Have another agent revoke the certificate, and nobody his own by accident."""
    file = str(made.folder / "client-a1.pem")
    own = lost.meshctl("tls", "revoke", file)
    assert own.returncode == 1
    assert "the certificate of this very node (a1)" in own.stderr
    leads = kept.meshctl("tls", "revoke", str(made.folder / "server-s1.pem"))
    assert leads.returncode == 1
    assert "is the certificate of the leader" in leads.stderr
    done = kept.meshctl("tls", "revoke", file, "-reason", "laptop stolen")
    assert done.returncode == 0, done.stderr
    assert "(a1.client.dc1.mesh, client.dc1.mesh) is revoked" in done.stdout


def test_agents_refuse_a_server_that_is_revoked(tmp_path: Path) -> None:
    made = Certificates(tmp_path / "made")
    first = server(tmp_path, tls=made.config("server", "s1"))
    second = agent(tmp_path, first, made.config("client", "a1"))
    with running(first, second):
        eventually(lambda: knows_leader(second))
        file = str(made.folder / "server-s1.pem")
        refused = first.meshctl("tls", "revoke", file)
        assert "the certificate of this very node (s1)" in refused.stderr
        done = first.meshctl("tls", "revoke", file, "-force", "-reason", "key copied")
        assert done.returncode == 0, done.stderr
        eventually(lambda: "closing a connection to a server: its certificate" in second.log())
        with pytest.raises(OSError, match=r"cannot connect.* is revoked: key copied"):
            second.get("/v1/catalog/nodes?consistent")
        # Another certificate is all it takes.
        made.files("server-s1", made.issue("server", "s1"))
        reload(first)
        eventually(lambda: knows_leader(second))


def test_the_quorum_is_not_revoked_one_by_one(tmp_path: Path) -> None:
    with cluster(tmp_path, 3, 0) as found:
        leader = found.leader()
        first, second = (one for one in found.servers if one is not leader)
        serials = {one.name: serial_of(one) for one in (first, second)}
        done = leader.meshctl("tls", "revoke", serials[first.name])
        assert done.returncode == 0, done.stderr
        words = (
            f"{serials[second.name]} is the certificate of {second.name}, and {first.name} is "
            f"revoked already: of 3 servers 1 would be left that others believe ({leader.name}), "
            "where 2 are needed to write anything, as `unrevoke` is; give each another certificate "
            "and restart it first"
        )
        refused = leader.meshctl("tls", "revoke", serials[second.name])
        assert refused.returncode == 1
        assert words in refused.stderr
        # What is nobody's certificate here costs no majority.
        assert leader.meshctl("tls", "revoke", "0A").returncode == 0
        # The first has another one: it is heard again, and the second may go.
        certificates().beside(first.folder).config("server", first.name)
        assert serial_of(first) != serials[first.name]
        reload(first)
        eventually(lambda: not leader.meshctl("tls", "revoke", serials[second.name]).returncode, 60)
        eventually(lambda: leader.put("/v1/kv/a", b"1"))


def test_a_server_whose_certificate_is_not_known_counts_as_believed(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    own, other = (made.credentials("server", name) for name in ("s1", "s2"))
    shown = {"s1": own.own, "s2": other.own, "s3": None}
    command = Revoke(other.own.serial)
    spares(own, lambda: shown)(command)
    shown["s3"] = other.own  # Which has its certificate as well.
    with pytest.raises(Conflict, match="the certificate of s2, s3: of 3 servers 1 would be left"):
        spares(own, lambda: shown)(command)
    spares(own, lambda: shown)(Revoke(other.own.serial, "CN=somebody else"))
    spares(own, lambda: shown)(Revoke(other.own.serial, force=True))


def serial_of(node: Meshd) -> str:
    file = node.config["tls"]["defaults"]["cert_file"]
    return read(ssl.PEM_cert_to_DER_cert(Path(file).read_text())).serial


def turned_away(node: Meshd, reason: str) -> int:
    url = f"http://{node.client_address}:{node.http}/v1/agent/metrics?format=prometheus"
    with urllib.request.urlopen(url, timeout=20) as response:
        text = response.read().decode()
    (count,) = re.findall(rf'^mesh_rpc_turned_away{{reason="{reason}"}} (\d+)', text, re.MULTILINE)
    return int(count)


def test_a_reload_of_what_tls_cannot_use_changes_nothing(tmp_path: Path) -> None:
    made = Certificates(tmp_path / "made")
    node = server(tmp_path, tls=made.config("server", "s1"))
    certificate, key = made.folder / "server-s1.pem", made.folder / "server-s1-key.pem"
    good = certificate.read_bytes(), key.read_bytes()
    with running(node):
        eventually(lambda: ready(node))
        # A curve that no TLS speaks.
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-subj", "/CN=x"]
        command += ["-pkeyopt", "ec_paramgen_curve:secp256k1", "-keyout", str(key)]
        command += ["-addext", "subjectAltName=DNS:s1.server.dc1.mesh", "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True)
        reload(node)
        assert "nothing was changed: tls.defaults.cert_file" in node.log()
        certificate.write_bytes(good[0])
        key.write_bytes(good[1])
        reload(node)
        assert ready(node)
