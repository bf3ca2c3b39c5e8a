"""Certificates of the mesh: roots, intermediates, leaves, and a root signed by another one.

Sources: SPIFFE X509-SVID (sections 2 to 4 for what a certificate must and must not say), RFC 5280.
"""

from __future__ import annotations

import datetime as dt

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.connect.keys import KeyType, Private, Public, kind_of, read_key
from mesh.errors import Invalid

BACKDATED_SECONDS = 300.0
"""For clocks that are behind ours."""
RSA_BITS_MIN = 2048
SERIAL_BITS = 52
"""Of roots and intermediates: JSON readers keep such a number exactly."""
_USES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_BAD = (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate says of itself. Times are Unix seconds."""

    id: str
    """The SHA-1 fingerprint, in hex with colons."""
    name: str
    serial: str
    not_before: float
    not_after: float
    key_type: KeyType
    key_bits: int
    key_id: str
    """The identifier of its key, in hex with colons."""
    authority: bool
    """Whether it may sign others."""
    below: int | None = None
    """How many authorities may follow below it; None for any number."""
    uris: list[str]


class Asked(msgspec.Struct, frozen=True):
    """What a certificate request asks for, once it is known that who made it has the key."""

    uri: str
    key: Public


class Validity(msgspec.Struct, frozen=True):
    """From when on and for how long a certificate is good, seconds; never beyond `latest`."""

    now: float
    seconds: float
    latest: float = float("inf")

    @property
    def until(self) -> float:
        """When it ends."""
        return float(int(min(self.now + self.seconds, self.latest)))


def facts(pem: str) -> Facts:
    """Read the first certificate. Raises Invalid."""
    found = _read(pem)
    kind, bits = kind_of(found.public_key())
    return Facts(
        id=colons(found.fingerprint(hashes.SHA1())),  # noqa: S303 - a name, as Consul gives it.
        name=_common_name(found.subject),
        serial=hexadecimal(found.serial_number),
        not_before=found.not_valid_before_utc.timestamp(),
        not_after=found.not_valid_after_utc.timestamp(),
        key_type=kind,
        key_bits=bits,
        key_id=colons(_identifier(found).digest),
        authority=_is_authority(found) and _may_sign(found),
        below=_below(found),
        uris=_uris(found.extensions),
    )


def split(pem: str) -> list[str]:
    """Each certificate of a file, with one line feed at its end. Raises Invalid for a bad one.

    What stands between them, spaces and line ends of any kind are left out.
    """
    try:
        found = x509.load_pem_x509_certificates(pem.replace("\r", "").encode())
    except ValueError as error:
        raise Invalid("expected certificates in PEM form") from error
    return [_pem(one) for one in found]


def der(pem: str) -> bytes:
    """The certificate as DER. Raises Invalid."""
    return _read(pem).public_bytes(serialization.Encoding.DER)


def chain_der(pem: str) -> bytes:
    """Every certificate of a file as DER, one behind the other. Raises Invalid."""
    return b"".join(der(one) for one in split(pem))


def public_numbers(pem: str) -> dict[str, str | bytes]:
    """The public key of a certificate, by the names of RFC 7518 section 6. Raises Invalid."""
    key = _read(pem).public_key()
    kind, bits = kind_of(key)
    if isinstance(key, rsa.RSAPublicKey):
        found = key.public_numbers()
        return {"n": _bytes(found.n), "e": _bytes(found.e)}
    assert isinstance(key, ec.EllipticCurvePublicKey), f"kind_of said {kind}"
    point, size = key.public_numbers(), (bits + 7) // 8
    return {
        "crv": f"P-{bits}",
        "x": point.x.to_bytes(size, "big"),
        "y": point.y.to_bytes(size, "big"),
    }


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def make_root(key: str, trust_domain: str, validity: Validity) -> str:
    """A root that signs itself, for a trust domain."""
    private = read_key(key)
    public = private.public_key()
    subject = _own_name("Mesh CA", public)
    builder = _builder(subject, subject, public, validity).serial_number(_serial())
    builder = _as_authority(builder, public, trust_domain, None)
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    builder = builder.add_extension(_issuer(identifier), critical=False)
    return _pem(builder.sign(private, _hash(private)))


def request_intermediate(key: str, trust_domain: str) -> str:
    """A request, PEM, for an intermediate, for a root whose key lies elsewhere."""
    private = read_key(key)
    names = x509.SubjectAlternativeName([_uri(f"spiffe://{trust_domain}")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name("Mesh intermediate"))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(names, critical=False)
    asked = builder.sign(private, _hash(private))
    return asked.public_bytes(serialization.Encoding.PEM).decode()


def request_leaf(key: str, uri: str) -> str:
    """A request, PEM, for a leaf with this SPIFFE ID."""
    private = read_key(key)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([_uri(uri)]), critical=True)
    asked = builder.sign(private, _hash(private))
    return asked.public_bytes(serialization.Encoding.PEM).decode()


def read_request(pem: str) -> Asked:
    """Check a request for a leaf. Raises Invalid, saying what is wrong with it."""
    try:
        asked = x509.load_pem_x509_csr(pem.encode())
        extensions, key = asked.extensions, asked.public_key()
        valid = asked.is_signature_valid
    except (*_BAD, InvalidSignature) as error:
        raise Invalid("CSR: no certificate request in PEM form that can be read") from error
    if not valid:
        raise Invalid("CSR: the signature is wrong; who asks does not have the key")
    kind, bits = kind_of(key)
    if kind == "rsa" and bits < RSA_BITS_MIN:
        raise Invalid(f"CSR: an RSA key of {bits} bits; expected {RSA_BITS_MIN} or more")
    _check_modest(extensions)
    names = _names(extensions)
    uris = [one.value for one in names if isinstance(one, x509.UniformResourceIdentifier)]
    if len(uris) != 1:
        raise Invalid(f"CSR: expected exactly one SPIFFE ID, found {len(uris)} URIs")
    if len(names) > 1:
        raise Invalid("CSR: names other than the SPIFFE ID are not signed; leave them out")
    return Asked(uris[0], key)  # type: ignore[arg-type]  # kind_of refused all others.


def _check_modest(extensions: x509.Extensions) -> None:
    """Nobody becomes an authority, or signs others, by a leaf."""
    for one in extensions:
        value = one.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise Invalid("CSR: asks for a certificate authority; leaves are none")
        if isinstance(value, x509.KeyUsage) and (value.key_cert_sign or value.crl_sign):
            raise Invalid("CSR: asks to sign certificates; leaves do not")


class Signer:
    """A certificate authority with its key: a root or an intermediate."""

    def __init__(self, certificate: str, key: str) -> None:
        """Raises Invalid when the key is not that of the certificate, or that is no authority."""
        self.certificate = certificate
        self._own, self._key = _read(certificate), read_key(key)
        if self._own.public_key() != self._key.public_key():
            raise Invalid("PrivateKey: is not the key of the certificate")
        if not _is_authority(self._own):
            raise Invalid("RootCert: is no certificate authority")

    @property
    def slow(self) -> bool:
        """Whether a signature takes so long that others should not wait for it."""
        return isinstance(self._key, rsa.RSAPrivateKey)

    @property
    def until(self) -> float:
        """When what it signs ends at the latest, Unix seconds."""
        return self._own.not_valid_after_utc.timestamp()

    def intermediate(self, key: str, trust_domain: str, validity: Validity) -> str:
        """An authority below this one, which signs leaves and no other authority."""
        public = read_key(key).public_key()
        subject = _own_name("Mesh intermediate", public)
        builder = self._below(subject, public, validity).serial_number(_serial())
        return self._sign(_as_authority(builder, public, trust_domain, 0))

    def cross(self, other: str, validity: Validity) -> str:
        """Another root's certificate, as if this one had made it: same name, same key."""
        found = _read(other)
        public: Public = found.public_key()  # type: ignore[assignment]  # It is of a root here.
        builder = self._below(found.subject, public, validity).serial_number(_serial())
        domains = [uri.removeprefix("spiffe://") for uri in _uris(found.extensions)]
        return self._sign(_as_authority(builder, public, domains[0] if domains else "", None))

    def leaf(self, asked: Asked, name: str, validity: Validity) -> str:
        """A leaf for who asked, named after the service."""
        subject = _name(name[:64])
        builder = self._below(subject, asked.key, validity)
        serial = x509.random_serial_number()
        rsa_key = isinstance(asked.key, rsa.RSAPublicKey)
        builder = (
            builder.serial_number(serial)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=False, encipher=rsa_key), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_USES), critical=False)
            .add_extension(x509.SubjectAlternativeName([_uri(asked.uri)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(asked.key), critical=False)
        )
        return self._sign(builder)

    def _below(
        self, subject: x509.Name, key: Public, validity: Validity
    ) -> x509.CertificateBuilder:
        validity = msgspec.structs.replace(validity, latest=min(validity.latest, self.until))
        if validity.until <= validity.now:
            raise Invalid(f"the authority that signs expired on {self._own.not_valid_after_utc:%F}")
        builder = _builder(subject, self._own.subject, key, validity)
        return builder.add_extension(_issuer(_identifier(self._own)), critical=False)

    def _sign(self, builder: x509.CertificateBuilder) -> str:
        return _pem(builder.sign(self._key, _hash(self._key)))


def is_signed_by(certificate: str, issuer: str) -> bool:
    """Whether one certificate signed the other, by name and key. Raises Invalid."""
    try:
        _read(certificate).verify_directly_issued_by(_read(issuer))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def same_key(certificate: str, key: str) -> bool:
    """Whether this is the private key of the certificate. Raises Invalid."""
    return _read(certificate).public_key() == read_key(key).public_key()


def hexadecimal(number: int) -> str:
    """A number as bytes in hex with colons."""
    return colons(_bytes(number) or b"\0")


def colons(data: bytes) -> str:
    """Bytes in hex with colons."""
    return data.hex(":")


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Public, validity: Validity
) -> x509.CertificateBuilder:
    start = dt.datetime.fromtimestamp(int(validity.now - BACKDATED_SECONDS), dt.UTC)
    end = dt.datetime.fromtimestamp(validity.until, dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _as_authority(
    builder: x509.CertificateBuilder, key: Public, trust_domain: str, below: int | None
) -> x509.CertificateBuilder:
    """One that signs others, so many authorities below each other."""
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    if trust_domain:
        names = x509.SubjectAlternativeName([_uri(f"spiffe://{trust_domain}")])
        builder = builder.add_extension(names, critical=False)
    return builder


def _hash(key: Private) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    """As long as the key is strong."""
    _, bits = kind_of(key.public_key())
    if isinstance(key, rsa.RSAPrivateKey) or bits <= 256:
        return hashes.SHA256()
    return hashes.SHA384() if bits == 384 else hashes.SHA512()


def _usage(*, sign: bool, encipher: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=encipher,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _read(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.replace("\r", "").encode())
    except ValueError as error:
        raise Invalid("expected a certificate in PEM form") from error


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _serial() -> int:
    return (x509.random_serial_number() % 2**SERIAL_BITS) or 1


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _own_name(what: str, key: Public) -> x509.Name:
    """A name that no other authority has: who checks a chain finds issuers by name."""
    digest = x509.SubjectKeyIdentifier.from_public_key(key).digest
    return _name(f"{what} {digest.hex()[:12]}")


def _common_name(subject: x509.Name) -> str:
    found = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else subject.rfc4514_string()


def _uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


def _names(extensions: x509.Extensions) -> list[x509.GeneralName]:
    try:
        return list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _uris(extensions: x509.Extensions) -> list[str]:
    names = _names(extensions)
    return [one.value for one in names if isinstance(one, x509.UniformResourceIdentifier)]


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return found.value.ca


def _below(certificate: x509.Certificate) -> int | None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return None
    return found.value.path_length


def _may_sign(certificate: x509.Certificate) -> bool:
    """Whether its key is not kept to other uses."""
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())


def _issuer(identifier: x509.SubjectKeyIdentifier) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
