"""Certificates from files: what a node refuses to start with, and what it says then."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mesh.clock import SystemClock
from mesh.errors import Denied, Invalid
from mesh.tls import Credentials, Names, Options, Setting, load
from tests.certificates import DAY, AtTime, Certificates

CLOCK = SystemClock()


def _replaced(made: Certificates, options: Options, **fields: str) -> Options:
    """The options with other paths."""
    settings = {name: Setting(getattr(options, name).key, path) for name, path in fields.items()}
    return msgspec.structs.replace(options, **settings)


def _wrong_key(made: Certificates) -> Options:
    good = made.options("server", "s1")
    return _replaced(made, good, key=made.options("server", "s2").key.path)


def _written(made: Certificates, name: str, text: str) -> str:
    path = made.folder / name
    path.write_text(text)
    return str(path)


def _encrypted(made: Certificates) -> Options:
    head = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,"
    text = f"{head}{'0' * 32}\n\nAAAA\n-----END EC PRIVATE KEY-----\n"
    return _replaced(made, made.options("server", "s1"), key=_written(made, "enc", text))


def _damaged(made: Certificates) -> Options:
    text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    path = _written(made, "damaged.pem", text)
    return _replaced(made, made.options("server", "s1"), certificate=path)


def _expired(made: Certificates) -> Options:
    pair = made.issue("server", "s1", AtTime(-10 * DAY), days=5)
    return made.options("server", "s1", pair)


def _early(made: Certificates) -> Options:
    return made.options("server", "s1", made.issue("server", "s1", AtTime(10 * DAY)))


def _foreign(made: Certificates) -> Options:
    other = Certificates(made.folder / "other")
    return made.options("server", "s1", other.issue("server", "s1"))


def _self_signed(made: Certificates, algorithm: str) -> Options:
    """A key that TLS has no use for, made by openssl since mesh makes none."""
    certificate, key = made.folder / "odd.pem", made.folder / "odd-key.pem"
    names = "subjectAltName=DNS:server.dc1.mesh,DNS:s1.server.dc1.mesh"
    command = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=x", "-addext", names]
    command += ["-newkey", *algorithm.split(), "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    good = made.options("server", "s1")
    return _replaced(made, good, certificate=str(certificate), key=str(key))


def _pipe(made: Certificates) -> Options:
    os.mkfifo(made.folder / "pipe")
    return _replaced(made, made.options("server", "s1"), key=str(made.folder / "pipe"))


CASES: dict[str, tuple[Callable[[Certificates], Options], str]] = {
    "no such file": (
        lambda made: _replaced(made, made.options("server", "s1"), certificate="/no/such.pem"),
        r"^tls.defaults.cert_file: /no/such.pem: cannot be read: No such file",
    ),
    "no such ca": (
        lambda made: _replaced(made, made.options("server", "s1"), authorities="/no/ca.pem"),
        r"^tls.defaults.ca_file: /no/ca.pem: cannot be read",
    ),
    "empty ca folder": (
        lambda made: _replaced(
            made, made.options("server", "s1"), authorities=str(_folder(made.folder / "empty"))
        ),
        r"^tls.defaults.ca_file: .*/empty: no file in it",
    ),
    "no pem": (
        lambda made: _replaced(
            made, made.options("server", "s1"), certificate=_written(made, "x", "hello")
        ),
        r"^tls.defaults.cert_file: .*: holds no certificate",
    ),
    "key is no pem": (
        lambda made: _replaced(made, made.options("server", "s1"), key=_written(made, "x", "a")),
        r"^tls.defaults.key_file: .*: holds no private key",
    ),
    "damaged": (_damaged, r"^tls.defaults.cert_file: .*damaged.pem: .* damaged"),
    "encrypted": (_encrypted, r"^tls.defaults.key_file: .*: the key is encrypted"),
    "wrong key": (_wrong_key, r"^tls.defaults.key_file: .*server-s2-key.pem: is not the key of"),
    "expired": (_expired, r"^tls.defaults.cert_file: .*: the certificate has expired"),
    "not yet valid": (_early, r"^tls.defaults.cert_file: .*: the certificate is not valid yet"),
    "foreign ca": (_foreign, r"^tls.defaults.cert_file: .*: no CA in .*agent-ca.pem has signed it"),
    "odd curve": (
        lambda made: _self_signed(made, "ec -pkeyopt ec_paramgen_curve:secp256k1"),
        r"^tls.defaults.cert_file: .*odd.pem: TLS does not take it: no shared cipher",
    ),
    "weak key": (
        lambda made: _self_signed(made, "rsa:1024"),
        r"^tls.defaults.cert_file: .*odd.pem: TLS does not take it: ee key too small",
    ),
    "a pipe": (_pipe, r"^tls.defaults.key_file: .*pipe: is no file"),
    "no node": (
        lambda made: made.options("server", "s1", made.issue("server")),
        r'names no node, but node_name is "s1"; make one with: meshctl tls .* -server .* -node s1',
    ),
    "other node": (
        lambda made: made.options("server", "s1", made.issue("server", "s2")),
        r'names the node "s2", but node_name is "s1"',
    ),
    "a client's": (
        lambda made: made.options("server", "s1", made.issue("client", "s1")),
        r"cert_file: .*: a server needs a certificate with server.dc1.mesh",
    ),
    "other datacenter": (
        lambda made: made.options("client", "a1", made.issue("client", "a1", dc="dc2")),
        r"cert_file: .*: the certificate carries neither server.dc1.mesh nor client.dc1.mesh",
    ),
    "a person's": (
        lambda made: made.options("client", "a1", made.issue("cli")),
        r"cert_file: .*: the certificate carries neither",
    ),
}


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("case", CASES)
def test_what_nobody_would_speak_with_is_refused(tmp_path: Path, case: str) -> None:
    make, words = CASES[case]
    made = Certificates(tmp_path)
    with pytest.raises(Invalid, match=words) as refused:
        load(make(made))
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("role", "node"), [("server", "s1"), ("server", "S1"), ("client", "a1"), ("client", "")]
)
def test_good_certificates_are_taken(tmp_path: Path, role: str, node: str) -> None:
    made = Certificates(tmp_path)
    options = made.options("server" if role == "server" else "client", node)
    assert len(load(options).ends) == 2
    # A folder of authorities is as good as a file.
    folder = _folder(tmp_path / "cas")
    (folder / "one.crt").write_bytes(made.ca.read_bytes())
    load(_replaced(made, options, authorities=str(folder)))
    # An agent may use a server's certificate.
    load(msgspec.structs.replace(options, server=False))


def test_what_expires_soon_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = Certificates(tmp_path)
    options = made.options("server", "s1", made.issue("server", "s1", days=40))
    loaded = load(options)
    with caplog.at_level(logging.WARNING):
        Credentials(loaded, CLOCK)
    assert not caplog.records
    Credentials(loaded, AtTime(15 * DAY))
    assert caplog.messages == [f"{options.certificate}: a certificate in it expires in 24 days"]
    caplog.clear()
    Credentials(loaded, AtTime(50 * DAY))
    assert caplog.messages == [f"{options.certificate}: a certificate in it has expired"]


def test_names_in_certificates() -> None:
    names = Names("dc1", "Mesh.")

    def certificate(*found: str) -> dict[str, object]:
        return {"subjectAltName": tuple(("DNS", name) for name in found)}

    assert names.read(certificate("S1.server.dc1.mesh", "server.dc1.mesh")) == (True, "s1", "")
    assert names.read(certificate("server.dc1.mesh")) == (True, "", "")
    assert names.read(certificate("a.b.client.dc1.mesh")) == (False, "a.b", "")
    assert names.read(certificate("server.DC2.mesh")) == (False, "", "dc2")
    both = certificate("S1.b.server.dc2.mesh", "server.dc2.mesh", "localhost", "s1.node.dc2.mesh")
    assert names.read(both) == (False, "s1.b", "dc2")
    assert names.of("dc2").read(both) == (True, "s1.b", "")
    # Whom it names of us comes first, and that is no server.
    assert names.read(certificate("client.dc1.mesh", "server.dc2.mesh")) == (False, "", "")
    for stranger in (
        ("xserver.dc1.mesh",),
        ("server.dc2.example",),
        ("client.dc2.mesh",),
        ("client.dc2.mesh", "server.dc2.mesh"),
        ("client.dc3.mesh", "server.dc2.mesh"),
        ("server.dc2.mesh", "server.dc3.mesh"),
        ("a.server.dc2.mesh", "b.server.dc2.mesh"),
        ("*.server.dc2.mesh",),
        ("server.*.mesh",),
        ("*.dc2.mesh",),
        ("server.mesh",),
        ("mesh",),
        ("localhost",),
        ("server.dc1.mesh.example",),
        ("a.server.dc1.mesh", "b.server.dc1.mesh"),
    ):
        with pytest.raises(Denied):
            names.read(certificate(*stranger))
    with pytest.raises(Denied):
        names.read({"subjectAltName": (("URI", "server.dc1.mesh"),)})
    with pytest.raises(Denied):
        names.read({})


def test_a_node_starts_without_the_library_that_makes_certificates() -> None:
    look = "import sys, mesh.daemon.node, mesh.daemon.main; print('cryptography' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_nodes_do_without_the_library_that_makes_certificates() -> None:
    """It takes long to load, and every start would wait for it."""
    code = "import sys, mesh.daemon.main, mesh.daemon.node; print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
