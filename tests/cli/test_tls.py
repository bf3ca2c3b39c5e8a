"""meshctl tls: files with the right names and rights, and clear refusals."""

from __future__ import annotations

import io
import resource
import signal
import ssl
import subprocess
from pathlib import Path

import pytest

from mesh.cli.main import Process, run
from mesh.clock import SystemClock
from mesh.connect.certs import Authority, Subject

CA = "-ca mesh-agent-ca.pem -key mesh-agent-ca-key.pem"


class Ran:
    """One command line, run in this process."""

    def __init__(self, line: str) -> None:
        out, err = io.StringIO(), io.StringIO()
        self.code = run(line.split(), Process({}, io.BytesIO(), out, err))
        self.out, self.err = out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(path: Path) -> set[str]:
    """Names and addresses in a certificate, as openssl prints them."""
    command = ["openssl", "x509", "-in", str(path), "-noout", "-ext", "subjectAltName"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {part.strip() for part in text.splitlines()[1].split(",")}


def test_an_authority_and_certificates_with_consuls_names(folder: Path) -> None:
    assert Ran("tls ca create").code == 0
    for _ in range(2):
        assert Ran("tls cert create -server -node S1").code == 0
    assert Ran("tls cert create --client --dc=dc2").code == 0
    assert Ran("tls cert create -cli").code == 0
    found = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert set(found) == {
        f"{stem}{end}"
        for stem in (
            "mesh-agent-ca",
            "dc1-server-mesh-0",
            "dc1-server-mesh-1",
            "dc2-client-mesh-0",
            "dc1-cli-mesh-0",
        )
        for end in (".pem", "-key.pem")
    }
    assert {mode for name, mode in found.items() if name.endswith("-key.pem")} == {0o600}
    local = {"DNS:localhost", "IP Address:127.0.0.1"}
    server = {"DNS:s1.server.dc1.mesh", "DNS:server.dc1.mesh"}
    assert names(folder / "dc1-server-mesh-0.pem") == local | server
    assert names(folder / "dc2-client-mesh-0.pem") == local | {"DNS:client.dc2.mesh"}
    for stem in ("dc1-server-mesh-0", "dc2-client-mesh-0", "dc1-cli-mesh-0"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(f"{stem}.pem", f"{stem}-key.pem")
        verify = ["openssl", "verify", "-CAfile", "mesh-agent-ca.pem", f"{stem}.pem"]
        subprocess.run(verify, check=True, capture_output=True)


def test_other_names_and_addresses(folder: Path) -> None:
    assert Ran("tls ca create -domain example. -days 10 -common-name Ours").code == 0
    line = "tls cert create -client -domain example -node a1 -days 5"
    made = Ran(f"{line} -additional-dnsname a.example.org -additional-ipaddress ::1 -format json")
    assert '"dc1-client-example-0.pem"' in made.out
    assert names(folder / "dc1-client-example-0.pem") == {
        "DNS:a1.client.dc1.example",
        "DNS:client.dc1.example",
        "DNS:a.example.org",
        "DNS:localhost",
        "IP Address:127.0.0.1",
        "IP Address:0:0:0:0:0:0:0:1",
    }


def test_nothing_is_overwritten(folder: Path) -> None:
    Ran("tls ca create")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    again = Ran("tls ca create")
    assert (again.code, again.out) == (1, "")
    assert "mesh-agent-ca.pem exists already" in again.err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("cert create", 2, "one of --server, --client and --cli"),
        ("cert create -server -client", 2, "one of --server"),
        ("cert create -server -ca no.pem", 1, "ca: cannot read no.pem: No such file"),
        ("cert create -server -key mesh-agent-ca.pem", 1, "key: holds no private key"),
        ("cert create -server -ca mesh-agent-ca-key.pem", 1, "ca: holds no certificate"),
        ("cert create -server -days 0", 1, "days: expected 1 to 36500, got 0"),
        ("cert create -server -days 9000", 1, "days: the ca itself expires in 18"),
        ("cert create -server -node a/b", 1, 'node: "a/b.server.dc1.mesh" is no DNS name'),
        ("cert create -client -additional-ipaddress x", 1, 'expected an IP address, got "x"'),
        ("cert create -client -additional-dnsname -.x", 1, 'additional-dnsname: "-.x" is no DNS'),
        (
            f"cert create -client -domain a..b {CA}",
            1,
            "dc and domain",
        ),
        ("cert create -client -dc server.dc1", 1, 'dc: expected a-z, 0-9, _ and - only, got "serv'),
        ("cert create -client -additional-dnsname S1.server.dc1.mesh", 1, "is for servers; use"),
        ("cert create -client -additional-dnsname server.dc1.mesh", 1, "is for servers; use"),
        ("cert create -client -additional-dnsname *.dc1.mesh", 1, "is for servers; use"),
        ("cert create -client -additional-dnsname server.dc2.mesh", 1, "is for servers; use"),
        ("cert create -client -additional-dnsname *.dc2.mesh", 1, "is for servers; use"),
        ("cert create -client -additional-dnsname *.server.dc2.mesh", 1, "is for servers; use"),
        ("cert create -server -node a -additional-dnsname b.server.dc1.mesh", 1, "is for servers"),
        ("ca create -domain b -additional-name-constraint c", 2, "needs --name-constraint"),
        (
            "ca create -domain b -name-constraint -additional-name-constraint .",
            1,
            'constraint: "."',
        ),
        ("ca create -domain a..b", 1, 'domain: "a..b" is no DNS name'),
        ("ca create -domain other -days x", 2, 'expected a whole number, got "x"'),
    ],
)
def test_refusals_are_clear_and_leave_nothing(
    folder: Path, line: str, code: int, words: str
) -> None:
    Ran("tls ca create")
    before = sorted(folder.iterdir())
    ran = Ran(f"tls {line}")
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert sorted(folder.iterdir()) == before


def test_a_foreign_key_is_not_taken_for_the_authoritys(folder: Path) -> None:
    Ran("tls ca create")
    Ran("tls ca create -domain other")
    ran = Ran("tls cert create -server -key other-agent-ca-key.pem")
    assert "key: is not the key of the ca" in ran.err
    Ran("tls cert create -server")
    ran = Ran("tls cert create -cli -ca dc1-server-mesh-0.pem -key dc1-server-mesh-0-key.pem")
    assert "ca: is no certificate authority" in ran.err


def verified(folder: Path, ca: str, certificate: str) -> bool:
    """Whether openssl accepts it."""
    command = ["openssl", "verify", "-x509_strict", "-CAfile", ca, certificate]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


def test_a_constrained_authority_signs_for_its_names_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Ran("tls ca create -name-constraint -additional-name-constraint ui.example")
    assert made.code == 0
    line = "tls cert create -server -node s1"
    assert Ran(f"{line} -additional-dnsname a.ui.example").code == 0
    assert verified(folder, "mesh-agent-ca.pem", "dc1-server-mesh-0.pem")
    refused = Ran(f"{line} -additional-dnsname xui.example")
    assert (refused.code, refused.out) == (1, "")
    assert "the ca is constrained to names in localhost, mesh, ui.example" in refused.err
    # Whoever signs such a name with its key all the same is believed by nobody.
    authority = Authority.read(
        *(Path(f"mesh-agent-ca{end}.pem").read_bytes() for end in ("", "-key"))
    )
    monkeypatch.setattr(Authority, "_check_permitted", lambda *_: None)
    pair = authority.issue(Subject("server", domain="other"), SystemClock(), 1)
    Path("other.pem").write_bytes(pair.certificate)
    assert not verified(folder, "mesh-agent-ca.pem", "other.pem")


def test_a_file_that_cannot_be_written_leaves_nothing(folder: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # As a full disk does.
    try:
        ran = Ran("tls ca create")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("meshctl: cannot write mesh-agent-ca-key.pem: ")
    assert not list(folder.iterdir())


def test_an_authority_names_its_cluster(folder: Path) -> None:
    assert Ran("tls ca create --cluster-id 3FD4A1A2-94a5-4d9c-a5b1-7c1f0c8a6d5e").code == 0
    expected = "URI:spiffe://3fd4a1a2-94a5-4d9c-a5b1-7c1f0c8a6d5e.mesh"
    assert names(folder / "mesh-agent-ca.pem") == {expected}
    refused = Ran("tls ca create --domain other --cluster-id a/b")
    assert (refused.code, 'cluster-id: "a/b.other" is no DNS name' in refused.err) == (1, True)
