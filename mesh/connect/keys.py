"""Private keys of the mesh: made, read, and sealed for the disk."""

from __future__ import annotations

from typing import Literal, TypeAlias

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mesh.clock import secret_bytes
from mesh.errors import Invalid

KeyType = Literal["ec", "rsa"]
Private: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Public: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
CURVES: dict[int, ec.EllipticCurve] = {
    224: ec.SECP224R1(),
    256: ec.SECP256R1(),
    384: ec.SECP384R1(),
    521: ec.SECP521R1(),
}
RSA_BITS = (2048, 4096)
NONCE_BYTES = 12
SECRET_BYTES = 32


def check_kind(kind: str, bits: int) -> None:
    """Raise Invalid for a kind of key that nobody makes."""
    if kind == "ec":
        if bits not in CURVES:
            known = ", ".join(map(str, CURVES))
            raise Invalid(f"PrivateKeyBits: expected one of {known} for an EC key, got {bits}")
    elif kind == "rsa":
        if bits not in RSA_BITS:
            known = " or ".join(map(str, RSA_BITS))
            raise Invalid(f"PrivateKeyBits: expected {known} for an RSA key, got {bits}")
    else:
        raise Invalid(f'PrivateKeyType: expected ec or rsa, got "{kind}"')


def new_key(kind: str, bits: int) -> str:
    """A new private key as PEM. An RSA key takes up to some seconds."""
    check_kind(kind, bits)
    if kind == "ec":
        return _pem(ec.generate_private_key(CURVES[bits]))
    return _pem(rsa.generate_private_key(public_exponent=65537, key_size=bits))


def read_key(pem: str) -> Private:
    """A private key from its PEM. Raises Invalid."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except TypeError as error:
        raise Invalid("PrivateKey: is encrypted; give a key without a password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid("PrivateKey: no private key in PEM form") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise Invalid("PrivateKey: expected an EC or RSA key")
    return key


def key_der(pem: str) -> bytes:
    """A private key as PKCS#8 in DER, not encrypted. Raises Invalid."""
    return read_key(pem).private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def kind_of(key: object) -> tuple[KeyType, int]:
    """What a public key is, and its size in bits. Raises Invalid for others than EC and RSA."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "ec", key.curve.key_size
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa", key.key_size
    raise Invalid("expected an EC or RSA key")


def _pem(key: Private) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


def new_secret() -> bytes:
    """What sealing goes by."""
    return secret_bytes(SECRET_BYTES)


def seal(secret: bytes, purpose: str, data: bytes) -> bytes:
    """The data encrypted, so that only who has the secret reads or changes it."""
    nonce = secret_bytes(NONCE_BYTES)
    return nonce + AESGCM(_derived(secret)).encrypt(nonce, data, purpose.encode())


def unseal(secret: bytes, purpose: str, sealed: bytes) -> bytes:
    """What was sealed for this purpose. Raises Invalid when it was not, or was changed since."""
    nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return AESGCM(_derived(secret)).decrypt(nonce, rest, purpose.encode())
    except (InvalidTag, ValueError) as error:
        raise Invalid(f"{purpose}: was not sealed with this secret") from error


def _derived(secret: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"mesh leaf storage").derive(secret)
