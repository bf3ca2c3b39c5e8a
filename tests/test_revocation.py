"""Certificates told apart by issuer and serial number, out of their bytes."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Denied, Invalid
from mesh.revocation import Listed, Named, Revocations, Revoked, read, read_serial
from tests.certificates import Certificates


def der(made: Certificates, name: str = "a1") -> bytes:
    return ssl.PEM_cert_to_DER_cert(made.issue("client", name).certificate.decode())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def test_serial_and_issuer_are_what_openssl_prints(made: Certificates, tmp_path: Path) -> None:
    path = tmp_path / "one.der"
    path.write_bytes(der(made))
    command = ["openssl", "x509", "-inform", "DER", "-in", str(path), "-noout", "-serial"]
    text = subprocess.run(
        [*command, "-issuer", "-nameopt", "RFC2253,-dn_rev"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = read(path.read_bytes())
    serial, issuer = text.splitlines()
    assert found.serial == serial.removeprefix("serial=")
    assert found.issuer.replace(", ", ",") == issuer.removeprefix("issuer=")


def test_every_kind_of_name(tmp_path: Path) -> None:
    """As authorities of others have them, with numbers that are short, negative or odd."""
    subject = "/C=US/ST=CA/L=Zürich/postalCode=94105/street=101 Second/O=A, B/CN=x/emailAddress=a@b"
    key, out = tmp_path / "key", tmp_path / "one.der"
    command = ["openssl", "req", "-x509", "-utf8", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:P-256", "-nodes", "-keyout", str(key), "-outform", "DER"]
    command += ["-out", str(out), "-subj", subject, "-set_serial", "0xabc"]
    subprocess.run(command, capture_output=True, check=True)
    assert read(out.read_bytes()) == Named(
        "0ABC",
        "C=US, ST=CA, L=Zürich, postalCode=94105, STREET=101 Second, O=A, B, CN=x, "
        "1.2.840.113549.1.9.1=a@b",
    )


def test_what_is_revoked_is_refused_with_the_reason(made: Certificates) -> None:
    one, other = der(made, "a1"), der(made, "a2")
    named = read(one)
    for listed in (named, Named(named.serial, "")):
        revocations = Revocations([Listed(listed, "stolen")])
        with pytest.raises(Revoked, match=f"{named.serial} is revoked: stolen") as refused:
            revocations.check(one)
        assert isinstance(refused.value, Denied)
        assert refused.value.serial == named.serial
        revocations.check(other)
        revocations.check(None)
        assert revocations.has(named)
        assert not revocations.has(read(other))
    Revocations([Listed(Named(named.serial, "CN=another"))]).check(one)
    with pytest.raises(Revoked, match="no reason was given"):
        Revocations([Listed(named)]).check(one)


@pytest.mark.parametrize("text", ["0a:1B", "0x0A1b", "serial=0A1B", "a1b", " 0A 1B "])
def test_numbers_are_read_however_they_are_written(text: str) -> None:
    assert read_serial(text) == "0A1B"


@pytest.mark.parametrize("text", ["", "web.pem", "-5", "0x", "12" * 40])
def test_other_texts_are_no_numbers(text: str) -> None:
    with pytest.raises(Invalid, match="hexadecimal"):
        read_serial(text)


@pytest.mark.parametrize("text", ["5A:0F:33:9", "0a:1B:", "0a::1B"])
def test_numbers_that_were_not_copied_whole_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="two digits after each colon"):
        read_serial(text)


@given(st.binary(max_size=64))
def test_other_bytes_are_no_certificate(data: bytes) -> None:
    with pytest.raises(Invalid, match="no certificate"):
        raise_if_read(data)


def raise_if_read(data: bytes) -> None:
    read(data)
    raise Invalid("no certificate, but read as one")


@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_damaged_bytes_raise_nothing_else(made: Certificates, at: int, data: bytes) -> None:
    whole = der_once(made)
    try:
        read(whole[:at] + data + whole[at + len(data) :])
        read(whole[:at])
    except Invalid:
        pass


def der_once(made: Certificates, known: dict[str, bytes] = {}) -> bytes:  # noqa: B006 - kept.
    if "" not in known:
        known[""] = der(made)
    return known[""]
