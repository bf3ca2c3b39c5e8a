"""Keys as people write them, and what encryption adds to a message; needs no library."""

from __future__ import annotations

import base64
import binascii

from mesh.errors import Invalid

KEY_SIZES = (16, 24, 32)
NONCE_BYTES, TAG_BYTES = 12, 16
OVERHEAD_BYTES = 1 + NONCE_BYTES + TAG_BYTES
"""What version 1 adds: the version, the nonce and the tag."""


def read_key(text: str) -> bytes:
    """A key from base64. Raises Invalid, which says what is expected."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) not in KEY_SIZES:
        raise Invalid("expected a key of 16, 24 or 32 bytes in base64, as `meshctl keygen` prints")
    return key


def write_key(key: bytes) -> str:
    """A key as base64."""
    return base64.b64encode(key).decode("ascii")
