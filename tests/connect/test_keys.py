"""Private keys: whom mesh believes that a key is one, and which kinds it makes."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mesh.connect import ca_config
from mesh.connect.keys import new_key, read_key
from mesh.errors import Invalid
from mesh.registry.authority import Rules


@pytest.fixture(scope="module")
def wrong() -> str:
    """An RSA key whose numbers do not fit together."""
    key = read_key(new_key("rsa", 2048))
    assert isinstance(key, rsa.RSAPrivateKey)
    found = key.private_numbers()
    other = rsa.RSAPrivateNumbers(
        p=found.p,
        q=found.q,
        d=found.d + 2,
        dmp1=found.dmp1,
        dmq1=found.dmq1,
        iqmp=found.iqmp,
        public_numbers=found.public_numbers,
    )
    made = other.private_key(unsafe_skip_rsa_key_validation=True)
    return made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


def test_keys_of_our_own_are_not_looked_at_again(wrong: str) -> None:
    """Which keeps the leader's loop from standing still for each RSA key that it reads."""
    read_key(wrong)
    with pytest.raises(Invalid, match="PrivateKey"):
        read_key(wrong, suspect=True)


def test_keys_that_envoy_does_not_take_are_not_made() -> None:
    with pytest.raises(Invalid, match="one of 256, 384, 521 for an EC key, got 224"):
        ca_config.read({"PrivateKeyBits": 224}, Rules())
    with pytest.raises(Invalid, match="PrivateKeyBits"):
        new_key("ec", 224)


def test_a_key_that_is_brought_is_looked_at(wrong: str) -> None:
    with pytest.raises(Invalid, match="PrivateKey"):
        ca_config.read({"PrivateKey": wrong}, Rules())
