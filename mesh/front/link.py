"""Links: the main process's end of a client's connection that a worker took."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from mesh.front import frames
from mesh.front.frames import Done, Frames, Kind, frame, told
from mesh.front.offers import Offers
from mesh.http.linked import Linked
from mesh.http.server import HttpServer


class _Wire(asyncio.Transport):
    """The worker's connection as that of its client: what is written goes out in frames."""

    def __init__(self, transport: asyncio.Transport, peer: tuple[Any, ...]) -> None:
        super().__init__({"peername": peer})
        self._transport = transport
        self.last: object = b""
        """What was written last."""

    def write(self, data: Any) -> None:
        """Send bytes to the client."""
        self.last = data
        self._transport.write(frames.data(data))

    def write_eof(self) -> None:
        """Send no more, but go on reading."""
        self._transport.write(frame(Kind.END))

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def close(self) -> None:
        """Close it once everything is sent."""
        if not self._transport.is_closing():
            self._transport.write(frame(Kind.CLOSE))
        self._transport.close()

    def abort(self) -> None:
        """Close it now."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or will be."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Take no more from the client."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take more."""
        self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent."""
        return self._transport.get_write_buffer_size()


class Link(asyncio.Protocol):
    """Serves one client's connection through a worker, which may keep what `offers` says."""

    def __init__(self, server: HttpServer, offers: Offers) -> None:
        self._server, self._offers = server, offers
        self._wire: _Wire | None = None
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._connection: Linked | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The worker says next whose connection it is."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, came: bytes) -> None:
        """Take frames from the worker."""
        for kind, body in self._frames.feed(came):
            if kind == Kind.OPEN:
                self._open(body)
            elif self._connection is not None:
                self._take(self._connection, kind, body)

    def _open(self, body: bytes) -> None:
        assert self._transport is not None
        peer: tuple[str, int] = msgspec.msgpack.decode(body, type=tuple[str, int])
        self._connection = Linked(self._server, self._done)
        self._wire = _Wire(self._transport, peer)
        self._connection.connection_made(self._wire)

    def _take(self, connection: Linked, kind: int, body: bytes) -> None:
        if kind == Kind.DATA:
            connection.data_received(body)
        elif kind == Kind.STAY:
            connection.stay()
        elif kind == Kind.END and not connection.eof_received():
            assert self._wire is not None
            self._wire.close()

    def _done(self, request: bytes) -> None:
        transport, connection, wire = self._transport, self._connection, self._wire
        assert connection is not None
        if transport is not None and wire is not None and not transport.is_closing():
            source = self._server.kept(request, wire.last) if request else None
            terms = self._offers.response(source)
            transport.write(told(Kind.DONE, Done(connection.received, terms)))

    def eof_received(self) -> bool:
        """The worker is gone, or its client."""
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        """As the client's connection."""
        connection, self._connection, self._transport = self._connection, None, None
        if connection is not None:
            connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        if self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        """It read enough."""
        if self._connection is not None:
            self._connection.resume_writing()
