"""SPIFFE documents: the roots as a trust bundle (SPIFFE Trust Domain and Bundle, section 4)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from mesh.lazily import Lazy
from mesh.registry.authority import Trust

if TYPE_CHECKING:
    from mesh.connect import signing
else:
    signing = Lazy("mesh.connect.signing")

REFRESH_SECONDS = 300
"""How often others are to look whether it changed."""


def bundle(trust: Trust) -> dict[str, Any]:
    """The roots as a JWK set."""
    return {
        "keys": [_key(root.certificate) for root in trust.roots],
        "spiffe_sequence": trust.sequence,
        "spiffe_refresh_hint": REFRESH_SECONDS,
    }


def _key(certificate: str) -> dict[str, Any]:
    numbers = signing.public_numbers(certificate)
    return {
        "use": "x509-svid",
        "kty": "EC" if "crv" in numbers else "RSA",
        **{name: v if isinstance(v, str) else _base64url(v) for name, v in numbers.items()},
        "x5c": [base64.b64encode(signing.der(certificate)).decode()],
    }


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
