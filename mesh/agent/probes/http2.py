"""HTTP/2 as a client: one connection for one check, to ping over or to make one call on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error

from mesh.agent.definitions import CheckDefinition
from mesh.agent.probes.target import Contexts, connect

PROTOCOL = "h2"
PING = b"mesh\x00\x00\x00\x01"
READ_BYTES = 65536
BODY_MAX_BYTES = 64 * 1024
Headers = Sequence[tuple[str, str]]


class Response(msgspec.Struct):
    """What a call came to; trailers are among the headers, in lower case."""

    headers: dict[str, str] = {}
    body: bytes = b""


class Connection:
    """An open connection. Everything raises OSError when the other side does not speak HTTP/2."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._state = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._state.initiate_connection()
        self._gone: OSError | None = None

    def close(self) -> None:
        """Close it without a farewell."""
        self._writer.transport.abort()

    async def ping(self) -> None:
        """Return when the other side has answered a PING."""
        self._state.ping(PING)
        while True:
            for event in await self._events():
                if isinstance(event, PingAckReceived):
                    return

    async def call(self, path: str, authority: str, scheme: str, body: bytes) -> Response:
        """POST a gRPC message; returns when the stream ends."""
        stream = self._state.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", scheme),
            (":authority", authority),
            (":path", path),
            ("content-type", "application/grpc"),
            ("user-agent", "mesh Health Check"),
            ("te", "trailers"),
        ]
        self._state.send_headers(stream, headers)
        self._state.send_data(stream, body, end_stream=True)
        response = Response()
        while True:
            for event in await self._events():
                if self._take(event, response):
                    return response

    def _take(self, event: Event, response: Response) -> bool:
        """Add to the response; whether it is whole."""
        if isinstance(event, ResponseReceived | TrailersReceived):
            response.headers |= {str(name): str(value) for name, value in event.headers or []}
        elif isinstance(event, DataReceived):
            response.body += event.data or b""
            if len(response.body) > BODY_MAX_BYTES:
                raise ConnectionError(f"the answer is longer than {BODY_MAX_BYTES} bytes")
        elif isinstance(event, StreamReset):
            raise ConnectionError(f"the stream was reset (error {event.error_code})")
        return isinstance(event, StreamEnded)

    async def _events(self) -> list[Event]:
        """What the other side did next, up to that it goes away: only what follows is lost then."""
        if self._gone is not None:
            raise self._gone
        self._writer.write(self._state.data_to_send())
        data = await self._reader.read(READ_BYTES)
        if not data:
            raise ConnectionError("the connection was closed")
        try:
            events = self._state.receive_data(data)
        except (H2Error, UnicodeDecodeError) as error:
            raise ConnectionError(f"this is no HTTP/2: {error}") from error
        self._writer.write(self._state.data_to_send())
        for at, event in enumerate(events):
            if isinstance(event, ConnectionTerminated):
                why = f"the other side goes away (error {event.error_code})"
                self._gone = ConnectionError(why)
                return events[:at]
        return events


async def open_connection(
    address: str, check: CheckDefinition, contexts: Contexts, *, over_tls: bool
) -> Connection:
    """Connect. Raises OSError or ValueError."""
    context = contexts.get(check, PROTOCOL) if over_tls else None
    reader, writer = await connect(address, check, context)
    if context is not None:
        chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        if chosen != PROTOCOL:
            writer.transport.abort()
            raise ConnectionError("the other side does not offer HTTP/2 (ALPN h2)")
    return Connection(reader, writer)
