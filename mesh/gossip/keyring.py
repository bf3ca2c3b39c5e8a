"""Keys: what gossip is encrypted with, and AES-GCM as memberlist uses it.

The first key seals, every key opens; so keys can be changed while the pool runs.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mesh.errors import Conflict, Invalid

KEY_SIZES = (16, 24, 32)
KEYS_MAX = 32
"""Every packet of a stranger is tried with each."""
NONCE_BYTES, TAG_BYTES, BLOCK_BYTES = 12, 16, 16
PADDED, PLAIN = 0, 1
"""Versions of the format: 0 fills up to whole blocks (protocol 1), 1 does not."""
OVERHEAD_BYTES = 1 + NONCE_BYTES + TAG_BYTES


class Keyring:
    """The keys of one pool, the primary one first.

    `nonces` gives twelve bytes that never come again. `changed` is told the keys after each change,
    before it counts: when it raises, nothing has changed.
    """

    def __init__(
        self,
        keys: Sequence[bytes],
        nonces: Callable[[], bytes],
        changed: Callable[[Sequence[bytes]], None] = lambda _: None,
    ) -> None:
        """Raises Invalid for no key, too many, or one of a wrong size."""
        if not keys:
            raise Invalid("key: a keyring needs at least one")
        self._nonces, self._changed = nonces, changed
        self._ciphers: dict[bytes, AESGCM] = {}
        for key in keys:
            self._ciphers[key] = _cipher(key)
        if len(self._ciphers) > KEYS_MAX:
            raise Invalid(f"key: a keyring holds {KEYS_MAX} at most, not {len(self._ciphers)}")

    @property
    def primary(self) -> bytes:
        """The key that seals."""
        return next(iter(self._ciphers))

    def list(self) -> list[bytes]:
        """Every key, the primary one first."""
        return [*self._ciphers]

    def install(self, key: bytes) -> None:
        """Add a key that opens. Raises Invalid for a wrong size, or when there are too many."""
        if key in self._ciphers:
            return
        _cipher(key)
        if len(self._ciphers) >= KEYS_MAX:
            raise Invalid(f"key: a keyring holds {KEYS_MAX}; remove old ones first")
        self._become([*self._ciphers, key])

    def use(self, key: bytes) -> None:
        """Seal with this key from now on. Raises Invalid when it was not installed."""
        if key not in self._ciphers:
            raise Invalid("key: is not in the keyring; install it first")
        if key != self.primary:
            self._become([key, *(one for one in self._ciphers if one != key)])

    def remove(self, key: bytes) -> None:
        """Forget a key; no error when it is not there. Raises Conflict for the primary one."""
        if key == self.primary:
            raise Conflict("key: is the primary one; use another before removing it")
        if key in self._ciphers:
            self._become([one for one in self._ciphers if one != key])

    def _become(self, keys: Sequence[bytes]) -> None:
        self._changed(keys)
        self._ciphers = {key: _cipher(key) for key in keys}

    def seal(self, content: bytes, bound: bytes = b"", version: int = PLAIN) -> bytes:
        """Encrypt with the primary key. `bound` is not sent, but must be the same to open it."""
        nonce = self._nonces()
        if version == PADDED:
            missing = BLOCK_BYTES - len(content) % BLOCK_BYTES
            content += bytes((missing,)) * missing
        cipher = next(iter(self._ciphers.values()))
        return bytes((version,)) + nonce + cipher.encrypt(nonce, content, bound)

    def open(self, sealed: bytes, bound: bytes = b"") -> bytes:
        """Decrypt with whichever key fits. Raises Invalid when none does."""
        version = sealed[0] if sealed else PLAIN + 1
        least = OVERHEAD_BYTES + (BLOCK_BYTES if version == PADDED else 0)
        if version > PLAIN or len(sealed) < least:
            raise Invalid("is not encrypted")
        nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        for cipher in self._ciphers.values():
            try:
                content = cipher.decrypt(nonce, body, bound)
            except InvalidTag:
                continue
            return content if version == PLAIN else _unpadded(content)
        raise Invalid("is not encrypted with a key of this node")


def _cipher(key: bytes) -> AESGCM:
    if len(key) not in KEY_SIZES:
        raise Invalid(f"key: expected 16, 24 or 32 bytes, got {len(key)}")
    return AESGCM(key)


def _unpadded(content: bytes) -> bytes:
    count = content[-1] if content else 0
    if not 1 <= count <= min(BLOCK_BYTES, len(content)):
        raise Invalid("is padded wrongly")
    return content[:-count]


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
