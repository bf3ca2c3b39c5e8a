"""Making certificates: authorities, and what they sign for servers, clients and people."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.clock import Clock
from mesh.errors import Invalid

Role = Literal["server", "client", "cli"]
DAYS_MAX = 36500
BACKDATED = dt.timedelta(minutes=5)  # For clocks that are behind ours.
_Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_HOST = re.compile(rf"(\*\.)?{_NAME.pattern}")
_DATACENTER = re.compile(r"[a-z0-9_-]{1,63}")  # As in the configuration.


class Pair(NamedTuple):
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


class Facts(NamedTuple):
    """What a certificate says of itself."""

    names: list[str]
    """DNS names."""
    ends: float
    """When it expires, in Unix seconds."""
    authority: bool
    """Whether it may sign others."""


def facts(certificate: bytes) -> Facts:
    """What a certificate in PEM form says. Raises Invalid when it is none."""
    try:
        found = x509.load_pem_x509_certificate(certificate)
        extensions = found.extensions
    except (ValueError, x509.DuplicateExtension) as error:
        raise Invalid("is no certificate in PEM form") from error
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns = names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        dns = []
    return Facts(dns, found.not_valid_after_utc.timestamp(), _signs(found))


def _signs(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


class Subject(msgspec.Struct, frozen=True):
    """For whom a certificate is."""

    role: Role
    datacenter: str = "dc1"
    domain: str = "mesh"
    node: str = ""
    dns_names: Sequence[str] = ()
    addresses: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The name of the role: server.dc1.mesh."""
        return f"{self.role}.{self.datacenter}.{self.domain}"

    @property
    def names(self) -> list[str]:
        """The DNS names that say who it is."""
        return [*([f"{self.node}.{self.name}".lower()] if self.node else []), self.name]

    def alternatives(self) -> list[x509.GeneralName]:
        """Every name and address in the certificate. Raises Invalid for what cannot be one."""
        if not _DATACENTER.fullmatch(self.datacenter):
            raise Invalid(f'dc: expected a-z, 0-9, _ and - only, got "{self.datacenter}"')
        _check(self.name, "dc and domain", _NAME)
        if self.node:
            _check(f"{self.node}.{self.name}", "node", _NAME)
        for name in self.dns_names:
            _check(name, "additional-dnsname", _HOST)
            self._check_modest(name.lower())
        found: list[x509.GeneralName] = [
            x509.DNSName(one) for one in dict.fromkeys([*self.names, "localhost", *self.dns_names])
        ]
        addresses = ["127.0.0.1", *self.addresses] if self.role != "cli" else self.addresses
        return found + [x509.IPAddress(_address(one)) for one in dict.fromkeys(addresses)]

    def _check_modest(self, name: str) -> None:
        """Nobody becomes a server, or another one, by a name that was only meant in addition."""
        domain = f".{self.domain}".lower()
        if not name.endswith(domain) or name in self.names:
            return
        # Of any datacenter: its servers are believed by those of the others.
        role, _, datacenter = name.removesuffix(domain).rpartition(".")
        wild = role == "*" and datacenter
        if datacenter and (wild or role == "server" or role.endswith(".server")):
            raise Invalid(f'additional-dnsname: "{name}" is for servers; use -server and -node')


class Authority:
    """A certificate authority that signs."""

    def __init__(self, certificate: x509.Certificate, key: _Private) -> None:
        self.certificate, self._key = certificate, key

    @classmethod
    def make(
        cls,
        clock: Clock,
        *,
        domain: str = "mesh",
        name: str = "",
        days: int = 1825,
        permitted: Sequence[str] = (),
        cluster: str = "",
    ) -> Pair:
        """A new authority; where some are permitted, for these names and those below them only.

        It says the SPIFFE id of the cluster with this id, if any.

        Raises Invalid for names or days that cannot be.
        """
        _check(domain, "domain", _NAME)
        for one in permitted:
            _check(one, "additional-name-constraint", _NAME)
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        common = name or f"Mesh Agent CA {serial}"
        if not 0 < len(common) <= 64:
            raise Invalid(f"common-name: expected at most 64 characters, got {len(common)}")
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mesh"),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )
        usage = _usage(sign=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = (
            _builder(clock, days)
            .subject_name(subject)
            .issuer_name(subject)
            .serial_number(serial)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(_issuer(identifier), critical=False)
        )
        if permitted:
            names = [x509.DNSName(one) for one in dict.fromkeys(permitted)]
            builder = builder.add_extension(x509.NameConstraints(names, None), critical=True)
        if cluster:
            _check(f"{cluster}.{domain}", "cluster-id", _NAME)
            trust = x509.UniformResourceIdentifier(f"spiffe://{cluster}.{domain}".lower())
            says = x509.SubjectAlternativeName([trust])
            builder = builder.add_extension(says, critical=False)
        return _pair(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def read(cls, certificate: bytes, key: bytes) -> Authority:
        """An authority from its PEM files. Raises Invalid when they are not one."""
        try:
            found = x509.load_pem_x509_certificate(certificate)
        except ValueError as error:
            raise Invalid("ca: holds no certificate in PEM form") from error
        try:
            private = serialization.load_pem_private_key(key, password=None)
        except TypeError as error:
            raise Invalid("key: is encrypted; give a key without a password") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Invalid("key: holds no private key in PEM form") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise Invalid("key: expected an EC or RSA key")
        if private.public_key() != found.public_key():
            raise Invalid("key: is not the key of the ca")
        if not _signs(found):
            raise Invalid("ca: is no certificate authority")
        return cls(found, private)

    def issue(self, subject: Subject, clock: Clock, days: int = 365) -> Pair:
        """A certificate with a new key. Raises Invalid, naming what cannot be."""
        end = self.certificate.not_valid_after_utc
        now = _now(clock)
        if end <= now:
            raise Invalid(f"ca: expired on {end:%Y-%m-%d}")
        alternatives = subject.alternatives()
        self._check_permitted(alternatives)
        key = ec.generate_private_key(ec.SECP256R1())
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if subject.role != "cli":
            uses.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.certificate.public_key())
        builder = (
            _builder(clock, days, end)
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.name[:64])]))
            .issuer_name(self.certificate.subject)
            .serial_number(x509.random_serial_number())
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(_issuer(identifier), critical=False)
        )
        return _pair(builder.sign(self._key, hashes.SHA256()), key)

    def _check_permitted(self, names: Sequence[x509.GeneralName]) -> None:
        """Raise Invalid for a name that the authority may not sign: nobody would accept it."""
        try:
            extension = self.certificate.extensions.get_extension_for_class(x509.NameConstraints)
        except x509.ExtensionNotFound:
            return
        subtrees = extension.value.permitted_subtrees or ()
        permitted = [one.value.lower() for one in subtrees if isinstance(one, x509.DNSName)]
        for name in (one.value.lower() for one in names if isinstance(one, x509.DNSName)):
            if permitted and not any(name == one or name.endswith(f".{one}") for one in permitted):
                raise Invalid(
                    f'"{name}": the ca is constrained to names in {", ".join(permitted)}; '
                    "make another ca, with -additional-name-constraint"
                )


def _now(clock: Clock) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(clock.wall()), dt.UTC)


def _builder(clock: Clock, days: int, latest: dt.datetime | None = None) -> x509.CertificateBuilder:
    if not 0 < days <= DAYS_MAX:
        raise Invalid(f"days: expected 1 to {DAYS_MAX}, got {days}")
    now = _now(clock)
    end = now + dt.timedelta(days=days)
    if latest is not None and end > latest:
        left = (latest - now).days
        raise Invalid(f"days: the ca itself expires in {left} days; give no more, or renew it")
    builder = x509.CertificateBuilder().not_valid_before(now - BACKDATED)
    return builder.not_valid_after(end)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer(identifier: x509.SubjectKeyIdentifier) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _check(name: str, flag: str, form: re.Pattern[str]) -> None:
    if len(name) > 253 or not form.fullmatch(name):
        raise Invalid(f'{flag}: "{name}" is no DNS name')


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise Invalid(f'additional-ipaddress: expected an IP address, got "{text}"') from None


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return Pair(certificate.public_bytes(pem), private)
