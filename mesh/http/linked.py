"""Linked connections: those that another process took, and hands on to this one."""

from __future__ import annotations

from collections.abc import Callable

from mesh.http.connection import Connection
from mesh.http.owner import Owner
from mesh.http.wire import Head


class Linked(Connection):
    """A connection that tells when everything it was asked is answered.

    `done` is called then with the bytes of the last request, if they came at once and alone.
    """

    __slots__ = ("_done", "_request", "_told", "received")

    def __init__(self, owner: Owner, done: Callable[[bytes], None]) -> None:
        super().__init__(owner)
        self._done = done
        self._request = b""
        self._told = 0
        self.received = 0

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._request = data if self._told == self.received else b""
        self.received += len(data)
        super().data_received(data)
        self._tell()

    def stay(self) -> None:
        """The client is at work, though it asks nothing here."""
        if self._told == self.received:
            self.deadline = self._owner.now() + self._owner.options.idle_seconds

    def _finish(self, head: Head, status: int) -> None:
        super()._finish(head, status)
        self._tell()

    def _tell(self) -> None:
        busy = self._task is not None or self._body is not None or self._pending
        if not busy and not self._last and self._told != self.received:
            self._told = self.received
            self._done(self._request)
