"""Sealing: the label and the encryption around all that the members of a pool send each other."""

from __future__ import annotations

from mesh.errors import Invalid
from mesh.gossip.keyring import OVERHEAD_BYTES, Keyring
from mesh.gossip.messages import ENCRYPT, HAS_LABEL

LABEL_MAX_BYTES = 255
LABEL_HEAD_BYTES = 2
FRAME_HEAD_BYTES = 5
FRAME_MAX_BYTES = 20 * 1024 * 1024
"""The largest encrypted stream, as in memberlist."""


class Rejected(Invalid):
    """It is not of this pool. `reason` is wrong_label, unauthenticated or encrypted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Sealing:
    """How the members of one pool know each other: the same label, and a common key.

    Without `verify_incoming` plain text is heard too, without `verify_outgoing` plain text is sent:
    both are for the time in which a pool begins to encrypt.
    """

    def __init__(
        self,
        label: str = "",
        keyring: Keyring | None = None,
        *,
        verify_incoming: bool = True,
        verify_outgoing: bool = True,
    ) -> None:
        """Raises Invalid for a label that is too long."""
        self._label = label.encode()
        if len(self._label) > LABEL_MAX_BYTES:
            raise Invalid(f"label: longer than {LABEL_MAX_BYTES} bytes")
        self.keyring = keyring
        self._verify_incoming = verify_incoming
        self._seals = keyring is not None and verify_outgoing
        self.head = bytes((HAS_LABEL, len(self._label))) + self._label if label else b""
        """What a packet begins with, and a stream that this node opens."""

    @property
    def overhead(self) -> int:
        """Bytes that every packet grows by."""
        return len(self.head) + (OVERHEAD_BYTES if self._seals else 0)

    # Packets

    def seal_packet(self, packet: bytes) -> bytes:
        """The bytes of a datagram."""
        if self._seals and self.keyring is not None:
            packet = self.keyring.seal(packet, self._label)
        return self.head + packet

    def open_packet(self, data: bytes) -> bytes:
        """What is in a datagram. Raises Rejected."""
        data = self._unlabelled(data)
        if self.keyring is None:
            if _looks_encrypted(data):
                raise Rejected("encrypted", _NO_KEY)
            return data
        try:
            return self.keyring.open(data, self._label)
        except Invalid as problem:
            if not self._verify_incoming:
                return data
            raise Rejected("unauthenticated", problem.message) from problem

    def _unlabelled(self, data: bytes) -> bytes:
        if self.head and data.startswith(self.head):
            return data[len(self.head) :]
        if self.head or data[:1] == _LABELLED:
            raise Rejected("wrong_label", "is not labelled as this pool is")
        return data

    # Streams

    def seal_stream(self, body: bytes) -> bytes:
        """The bytes of a message on a stream; who opens the stream puts `head` before them."""
        if not self._seals or self.keyring is None:
            return body
        length = len(body) + OVERHEAD_BYTES
        if length > FRAME_MAX_BYTES:
            raise Invalid(f"a message of {length} bytes is too large to be encrypted")
        head = bytes((ENCRYPT,)) + length.to_bytes(4, "big")
        return head + self.keyring.seal(body, head + self._label)

    def opener(self, *, answers: bool = False) -> Opener:
        """Opens one stream; `answers` do not repeat the label."""
        return Opener(self, b"" if answers else self.head)

    def wants_encryption(self) -> bool:
        """Whether plain text is refused."""
        return self.keyring is not None and self._verify_incoming

    def open_frame(self, head: bytes, sealed: bytes) -> bytes:
        """What is in an encrypted stream. Raises Rejected."""
        if self.keyring is None:
            raise Rejected("encrypted", _NO_KEY)
        try:
            return self.keyring.open(sealed, head + self._label)
        except Invalid as problem:
            raise Rejected("unauthenticated", problem.message) from problem


class Opener:
    """Takes the bytes of one stream; `feed` gives what is within the label and the encryption."""

    def __init__(self, sealing: Sealing, label: bytes) -> None:
        self._sealing = sealing
        self._label: bytes | None = label
        self._held = bytearray()
        self._plain = False
        self._done = False

    def feed(self, data: bytes) -> bytes:
        """Add bytes; gives what can be read so far. Raises Rejected, or Invalid when too large."""
        if self._plain:
            return data
        if self._done:
            return b""
        self._held += data
        if self._label is not None and not self._skip_label(self._label):
            return b""
        if not self._held:
            return b""
        if self._held[0] != ENCRYPT:
            if self._sealing.wants_encryption():
                raise Rejected("unauthenticated", "is not encrypted")
            self._plain = True
            plain, self._held = bytes(self._held), bytearray()
            return plain
        return self._frame()

    def _skip_label(self, label: bytes) -> bool:
        start = bytes(self._held[: len(label)])
        if start == label and bytes(self._held[len(label) : len(label) + 1]) != _LABELLED:
            del self._held[: len(label)]
            self._label = None
            return True
        if label.startswith(start) and len(start) < len(label):
            return False
        raise Rejected("wrong_label", "is not labelled as this pool is")

    def _frame(self) -> bytes:
        if len(self._held) < FRAME_HEAD_BYTES:
            return b""
        if self._sealing.keyring is None:
            raise Rejected("encrypted", _NO_KEY)
        head = bytes(self._held[:FRAME_HEAD_BYTES])
        length = int.from_bytes(head[1:], "big")
        if length > FRAME_MAX_BYTES:
            raise Invalid(f"encrypted stream of {length} bytes; the limit is {FRAME_MAX_BYTES}")
        if len(self._held) < FRAME_HEAD_BYTES + length:
            return b""
        sealed = bytes(self._held[FRAME_HEAD_BYTES : FRAME_HEAD_BYTES + length])
        # Whatever comes after the one message is nobody's.
        self._held.clear()
        self._done = True
        return self._sealing.open_frame(head, sealed)


_LABELLED = bytes((HAS_LABEL,))
_NO_KEY = "is encrypted, and this node has no key (option encrypt)"


def _looks_encrypted(data: bytes) -> bool:
    """Sealed bytes begin as a ping would, but no map follows."""
    return len(data) >= OVERHEAD_BYTES and data[0] <= 1 and data[1] & 0xF0 != 0x80
