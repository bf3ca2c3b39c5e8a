"""Fetching a snapshot, as a leader streams it or as a server without the epoch's state pulls it."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.raft.messages import CHUNK_BYTES, Chunk, Piece, Pull
from mesh.raft.snapshots import Incoming, Reader, Snapshots

PULL_SECONDS = 1.0  # Without an answer for so long, somebody else is asked.
_PULLED = -1  # In place of a leader's term.


class Fetch:
    """The one snapshot on its way in. `installing` says that it is whole and being verified."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self.incoming: Incoming | None = None
        self._source = ("", 0)
        self.installing = False
        self._asked_at = float("-inf")

    def take_chunk(self, peer: str, message: Chunk) -> int:
        """Take a piece that a leader sent; how much is held now, 0 after a hole."""
        return self._take((peer, message.term), message, message.entry_term)

    def take_piece(self, peer: str, message: Piece, now: float) -> None:
        """Take a piece that was pulled; pieces nobody waits for change nothing."""
        wanted = self._source == (peer, _PULLED)
        if self.installing or not (wanted and message.data):
            return
        self._asked_at = now
        self._take((peer, _PULLED), message, message.entry_term)
        self._source = (peer, _PULLED)

    def pull(self, peers: Sequence[str], now: float) -> tuple[str, Pull] | None:
        """Whom to ask from the start, when nothing came for a while; None while an answer may."""
        if self.installing or not peers or now - self._asked_at < PULL_SECONDS:
            return None
        before = self._source[0]
        place = peers.index(before) + 1 if before in peers else 0
        self.drop()
        self._source = (peers[place % len(peers)], _PULLED)
        self._asked_at = now
        return self._source[0], Pull(0, 0)

    def next_pull(self) -> Pull | None:
        """What to ask the same server for, right after a piece of it came."""
        if self.incoming is None or self.incoming.whole or self._source[1] != _PULLED:
            return None
        return Pull(self.incoming.index, self.incoming.received)

    def begin_install(self) -> Incoming | None:
        """The snapshot, once it is whole; from then on `installing`."""
        if self.incoming is None or not self.incoming.whole or self.installing:
            return None
        self.installing = True
        self.incoming.close()
        return self.incoming

    def end_install(self) -> None:
        """It was installed, or found damaged."""
        self.installing = False
        self.drop()

    def drop(self) -> None:
        """Forget what came so far."""
        if self.incoming is not None:
            self.incoming.close()
            self.incoming = None
        self._source = ("", 0)

    def _take(self, source: tuple[str, int], message: Chunk | Piece, entry_term: int) -> int:
        if message.offset == 0 and message.data:
            self.drop()
            self._source = source
            self.incoming = self._snapshots.incoming(message.index, entry_term, message.size)
        incoming = self.incoming
        if (
            incoming is None
            or self._source != source
            or (incoming.index, incoming.size) != (message.index, message.size)
            or incoming.received != message.offset
        ):
            self.drop()  # A hole, or the rest of a transfer that was broken off.
            return 0
        incoming.add(message.data)
        return incoming.received


def piece(snapshots: Snapshots, wanted: Pull) -> Piece | None:
    """The answer to a Pull: a piece of the newest snapshot, or None when there is none.

    When a newer one has replaced the one asked for, its first piece, so that all begins again.
    """
    latest = snapshots.latest
    if latest is None:
        return None
    offset = wanted.offset if wanted.index == latest.index else 0
    try:
        reader = Reader(latest)
    except FileNotFoundError:  # A newer one replaces it right now; it will be asked again.
        return None
    try:
        data = reader.read(offset, CHUNK_BYTES)
    finally:
        reader.close()
    return Piece(latest.index, latest.term, latest.size, offset, data)
