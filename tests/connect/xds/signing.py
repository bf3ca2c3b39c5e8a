"""Who signs leaves of services, and who signs tokens, for tests."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from mesh.connect import identity
from mesh.connect.credentials import Bundle, Leaf
from mesh.registry.intentions import JwtProvider

TRUST = "11111111-2222-3333-4444-555555555555.consul"
PEM = serialization.Encoding.PEM


class Signer:
    """A root of a trust domain."""

    def __init__(self, name: str = "root-1", trust_domain: str = TRUST) -> None:
        self.name, self.trust_domain = name, trust_domain
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._root = (
            _dated()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        return self._root.public_bytes(PEM).decode()

    def bundle(self, *others: Signer) -> Bundle:
        roots = {one.name: one.pem for one in (self, *others)}
        return Bundle(self.trust_domain, roots, self.name)

    def leaf(self, service: str, uri: str = "") -> Leaf:
        uri = uri or identity.service(self.trust_domain, "dc1", service).uri
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        certificate = (
            _dated()
            .subject_name(x509.Name([]))
            .issuer_name(self._root.subject)
            .public_key(key.public_key())
            .add_extension(names, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Leaf(
            service=service,
            uri=uri,
            serial=str(certificate.serial_number),
            certificate=certificate.public_bytes(PEM).decode(),
            key=private.decode(),
            valid_after=certificate.not_valid_before_utc.timestamp(),
            valid_before=certificate.not_valid_after_utc.timestamp(),
            root=self.name,
        )


def _dated() -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
    )


class Issuer:
    """Of JSON web tokens, signed with ES256."""

    def __init__(self, name: str, **fields: Any) -> None:
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        point = self._key.public_key().public_numbers()
        key = {
            "kty": "EC",
            "crv": "P-256",
            "alg": "ES256",
            "kid": "1",
            "x": _base64(point.x.to_bytes(32, "big")),
            "y": _base64(point.y.to_bytes(32, "big")),
        }
        keys = json.dumps({"keys": [key]})
        self.provider = JwtProvider(name=name, issuer=f"https://{name}", keys=keys, **fields)

    def token(self, **claims: Any) -> str:
        now = int(dt.datetime.now(dt.UTC).timestamp())
        payload = {"iss": self.provider.issuer, "exp": now + 600} | claims
        head = {"alg": "ES256", "typ": "JWT", "kid": "1"}
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (head, payload))
        numbers = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        signature = b"".join(number.to_bytes(32, "big") for number in numbers)
        return f"{signed}.{_base64(signature)}"


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
