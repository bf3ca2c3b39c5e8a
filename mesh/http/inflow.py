"""Inflow: a body on its way from a connection to a handler that reads it piece by piece."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from mesh.errors import MeshError

PENDING_MAX_BYTES = 64 * 1024
"""How much is read ahead of the request that is being answered."""


class Inflow:
    """A body on its way to a handler that reads it piece by piece."""

    def __init__(self, read_on: Callable[[], None]) -> None:
        self._pieces: deque[bytes] = deque()
        self._read_on = read_on
        self._news = asyncio.Event()
        self._error: MeshError | None = None
        self._ended = False
        self.held = 0

    def push(self, piece: bytes) -> None:
        """More of it came."""
        if piece:
            self._pieces.append(piece)
            self.held += len(piece)
            self._news.set()

    def end(self, error: MeshError | None = None) -> None:
        """All of it came, or what follows cannot be had for this reason."""
        self._ended, self._error = True, error
        self._news.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises the error that ended it."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self.held -= len(piece)
                if self.held <= PENDING_MAX_BYTES:
                    self._read_on()
                yield piece
            if self._ended:
                break
            self._news.clear()
            await self._news.wait()
        if self._error is not None:
            raise self._error
