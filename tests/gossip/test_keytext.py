"""Keys as people write them."""

import base64
import os

import pytest

from mesh.errors import Invalid
from mesh.gossip.keytext import read_key, write_key


def test_keys_are_read_and_written_as_base64() -> None:
    key = os.urandom(32)
    assert read_key(f" {write_key(key)}\n") == key
    for text in ("", "x", "!!!!", base64.b64encode(b"x" * 17).decode(), "ü"):
        with pytest.raises(Invalid, match="16, 24 or 32 bytes in base64"):
            read_key(text)
