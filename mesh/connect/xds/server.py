"""The discovery service: streams of sidecars and gRPC clients, and what each was sent and said."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from mesh.clock import Clock
from mesh.connect.xds import wire
from mesh.connect.xds.messages import (
    DeltaDiscoveryRequest,
    DiscoveryRequest,
    StreamAccessLogsMessage,
)
from mesh.connect.xds.refusals import ENDS
from mesh.connect.xds.snapshot import Snapshot
from mesh.connect.xds.status import ProxyStatus, status_of
from mesh.connect.xds.stream import Change, Request, Stream
from mesh.errors import MeshError, Unreachable
from mesh.tasks import Tasks, spawn
from mesh.telemetry.metrics import Reading, counter, gauge

log = logging.getLogger(__name__)

STREAMS_MAX = 4096
STREAMS_PER_PROXY = 4
"""Envoy has two of them while it restarts hot."""
STREAMS_PER_SERVICE = 256
"""Of gRPC programs, which have one for each service they call, and all of a service have one id."""
NODE_ID_MAX = 256
MESSAGE_MAX = 16 << 20
"""Bytes of a request: one of a client with 65,536 names has some 10 MB."""
TICK_SECONDS = 5.0
SILENCE_SECONDS = 60.0
"""A client that answers nothing for so long is disconnected: it comes again."""
STOP_SECONDS = 2.0
LOG_SECONDS, END_SECONDS = 0.002, 0.0001
"""For each call that proxies log, and each that is about an end of which mostly nothing follows,
all of them together: what comes faster is dropped by Envoy."""
_LOGS = "envoy.service.accesslog.v3.AccessLogService"
_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


class _Connection:
    """A stream of a proxy."""

    def __init__(self, proxy: str, stream: Stream, since: float) -> None:
        self.proxy, self.stream, self.since = proxy, stream, since
        self.ended = self.gone = False
        self.reader: asyncio.Task[None] | None = None
        self.failure: MeshError | None = None
        self._event = asyncio.Event()

    def wake(self) -> None:
        """There may be something to send."""
        self._event.set()

    async def woken(self) -> None:
        """Wait until there may be."""
        await self._event.wait()
        self._event.clear()

    def end(self, failure: MeshError | None = None) -> None:
        """Send no more."""
        self.ended, self.failure = True, failure
        self.wake()


class XdsServer:
    """Answers the discovery streams of proxies with the newest snapshot put for each.

    Whoever asks before there is one waits for it. What is called back must not raise.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        joined: Callable[[str], None] = lambda _: None,
        left: Callable[[str], None] = lambda _: None,
        heard: Callable[[str], None] = lambda _: None,
        logged: Callable[[str, Any], None] = lambda _, __: None,
        streams_max: int = STREAMS_MAX,
    ) -> None:
        self._clock, self._joined, self._left = clock, joined, left
        self._heard, self._logged = heard, logged
        self._logs: set[asyncio.Task[Any]] = set()
        self._logs_due = 0.0
        self._streams_max = streams_max
        self._snapshots: dict[str, Snapshot] = {}
        self._connections: dict[str, list[_Connection]] = {}
        self._stuck = 0
        """Streams that were ended while their clients read nothing: they hear it when they do."""
        self._server: Any = None
        self._tasks = Tasks()
        self._stopping = False
        self.addresses: list[str] = []
        """What is listened on; ports as they were given by the system."""
        self._ended: Counter[str] = Counter()
        """What streams that have ended had come to."""

    async def start(self, addresses: Sequence[str]) -> None:
        """Listen on addresses such as unix:/run/xds.sock and 127.0.0.1:0.

        Raises Unreachable for one that cannot be had.
        """
        options = [
            ("grpc.max_receive_message_length", MESSAGE_MAX),
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.aio.server(options=options)
        handlers = {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._whole, DiscoveryRequest.FromString, None
            ),
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._delta, DeltaDiscoveryRequest.FromString, None
            ),
        }
        handler = grpc.method_handlers_generic_handler(_SERVICE, handlers)
        logs = {
            "StreamAccessLogs": grpc.stream_unary_rpc_method_handler(
                self._read_log, StreamAccessLogsMessage.FromString, None
            )
        }
        log_handler = grpc.method_handlers_generic_handler(_LOGS, logs)
        self._server.add_generic_rpc_handlers((handler, log_handler))
        for address in addresses:
            try:
                port = self._server.add_insecure_port(address)
            except RuntimeError as error:
                raise Unreachable(f"xDS: cannot listen on {address}") from error
            host, colon, _ = address.rpartition(":")
            plain = colon and not address.startswith("unix:")
            self.addresses.append(f"{host}:{port}" if plain else address)
        await self._server.start()
        self._tasks.start(self._tick(), name="xds watchdog")

    async def stop(self) -> None:
        """End all streams, then listen no more."""
        self._stopping = True
        for connection in self._all():
            connection.end(Unreachable("the discovery service stops"))
        for log_task in self._logs:
            log_task.cancel()
        await self._tasks.stop()
        if self._server is not None:
            await self._server.stop(STOP_SECONDS)

    def put(self, proxy: str, snapshot: Snapshot | None) -> None:
        """From now on the proxy is to have this. None: it keeps what it has."""
        if snapshot is None:
            self._snapshots.pop(proxy, None)
        else:
            self._snapshots[proxy] = snapshot
        for connection in self._connections.get(proxy, ()):
            connection.stream.put(snapshot)
            connection.wake()

    def status(self) -> list[ProxyStatus]:
        """All streams, by proxy."""
        now = self._clock.monotonic()
        return [
            status_of(one.proxy, one.stream, now, one.since)
            for proxy in sorted(self._connections)
            for one in self._connections[proxy]
        ]

    def measures(self) -> Iterator[Reading]:
        """What there is to say of all streams together."""
        streams = [one.stream for one in self._all()]
        counts = self._ended.copy()
        for stream in streams:
            counts.update(_counts(stream))
        now = self._clock.monotonic()
        waits = max((stream.unanswered(now) for stream in streams), default=0.0)
        refused = sum(len(topic.refused) for one in streams for topic in one.topics.values())
        yield gauge("mesh.xds.streams", len(streams), "Discovery streams of proxies")
        yield gauge("mesh.xds.refused", refused, "Resources that proxies refuse at the moment")
        yield gauge("mesh.xds.unanswered_seconds", waits, "Longest wait for a proxy's answer")
        yield counter("mesh.xds.responses", counts["responses"], "Responses sent to proxies")
        yield counter("mesh.xds.resources", counts["resources"], "Resources sent to proxies")
        yield counter("mesh.xds.refusals", counts["refusals"], "Responses that proxies refused")
        yield counter("mesh.xds.silent", counts["silent"], "Streams ended for their silence")
        away = "Streams turned away because there were too many"
        yield counter("mesh.xds.turned_away", counts["turned_away"], away)

    def streams(self, proxy: str) -> list[Stream]:
        """The streams of one proxy: several while one Envoy takes over from another."""
        return [one.stream for one in self._connections.get(proxy, ())]

    def _all(self) -> list[_Connection]:
        return [one for several in self._connections.values() for one in several]

    async def _tick(self) -> None:
        """Wake streams on which time alone changes something, and end those that went silent."""
        while True:
            await self._clock.sleep(TICK_SECONDS)
            now = self._clock.monotonic()
            for connection in self._all():
                silence = connection.stream.unanswered(now)
                if silence > SILENCE_SECONDS:
                    log.warning("proxy %s answered nothing for %d s", connection.proxy, silence)
                    self._ended["silent"] += 1
                    connection.end(Unreachable("the client did not answer"))
                    self._leave(connection)
                    self._stuck += 1
                elif connection.stream.waiting():
                    connection.wake()

    # Streams.

    async def _delta(self, _: Any, context: Any) -> None:
        await self._serve(context, Stream(), _delta_request, _delta_response)

    async def _whole(self, _: Any, context: Any) -> None:
        await self._serve(context, Stream(whole=True), _whole_request, _whole_response)

    async def _serve(
        self,
        context: Any,
        stream: Stream,
        request: Callable[[Any], Request],
        response: Callable[[Change], bytes],
    ) -> None:
        first = await context.read()
        if first is grpc.aio.EOF:
            return
        proxy = first.node.id
        await self._admit(proxy, context, stream)
        now = self._clock.monotonic()
        connection = _Connection(proxy, stream, now)
        mates = self._connections.setdefault(proxy, [])
        mates.append(connection)
        stream.put(self._snapshots.get(proxy))
        connection.reader = spawn(self._read(first, context, connection, request))
        try:
            self._joined(proxy)
            await self._write(context, connection, response)
        finally:
            if connection.gone:
                self._stuck -= 1
            else:
                self._leave(connection)
        if connection.failure is not None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, connection.failure.message)

    def _leave(self, connection: _Connection) -> None:
        """Count it no more. Its last message may wait still for a client that reads nothing."""
        connection.gone = True
        if connection.reader is not None:
            connection.reader.cancel()
        proxy, stream = connection.proxy, connection.stream
        mates = self._connections[proxy]
        mates.remove(connection)
        if not mates:
            del self._connections[proxy]
        self._ended.update(_counts(stream))
        connection.stream = Stream(whole=stream.whole)
        self._left(proxy)

    async def _read_log(self, _: Any, context: Any) -> bytes:
        """Take in what a proxy logs, no faster than is good for the rest of us."""
        task = asyncio.current_task()
        if task is None or self._stopping or len(self._logs) >= self._streams_max:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams")
            return b""
        self._logs.add(task)
        proxy, seconds = "", LOG_SECONDS
        try:
            while (message := await context.read()) is not grpc.aio.EOF:
                # Only the first one says whose it is, and what.
                proxy = message.identifier.node.id or proxy
                if message.identifier.log_name == ENDS:
                    seconds = END_SECONDS
                self._logged(proxy, message)
                calls = len(message.http_logs.log_entry) + len(message.tcp_logs.log_entry)
                await self._rest(calls * seconds)
        finally:
            self._logs.discard(task)
        return b""

    async def _rest(self, seconds: float) -> None:
        """Read no further in a log until its turn comes again; Envoy's buffer is bounded."""
        now = self._clock.monotonic()
        self._logs_due = max(now, self._logs_due) + seconds
        await self._clock.sleep(self._logs_due - now)

    async def _admit(self, proxy: str, context: Any, stream: Stream) -> None:
        if not 0 < len(proxy) <= NODE_ID_MAX:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the node has no usable id")
        room = STREAMS_PER_SERVICE if stream.whole else STREAMS_PER_PROXY
        crowded = len(self._connections.get(proxy, ())) >= room
        if self._stopping or crowded or len(self._all()) + self._stuck >= self._streams_max:
            self._ended["turned_away"] += 1
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams")

    async def _read(
        self,
        message: Any,
        context: Any,
        connection: _Connection,
        request: Callable[[Any], Request],
    ) -> None:
        """Take in what the client says, until it says no more."""
        try:
            while message is not grpc.aio.EOF:
                connection.stream.receive(request(message), self._clock.monotonic())
                connection.wake()
                self._heard(connection.proxy)
                message = await context.read()
            connection.end()
        except MeshError as error:
            connection.end(error)

    async def _write(
        self, context: Any, connection: _Connection, response: Callable[[Change], bytes]
    ) -> None:
        while True:
            await connection.woken()
            if connection.ended:
                return
            for change in connection.stream.due(self._clock.monotonic()):
                await context.write(response(change))
                if connection.gone:
                    return


def _counts(stream: Stream) -> dict[str, int]:
    return {
        "responses": stream.sent,
        "resources": stream.resources_sent,
        "refusals": stream.refusals,
    }


def _delta_request(message: Any) -> Request:
    return Request(
        kind=message.type_url,
        nonce=message.response_nonce,
        error=_error(message),
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        versions=dict(message.initial_resource_versions),
    )


def _whole_request(message: Any) -> Request:
    return Request(
        kind=message.type_url,
        nonce=message.response_nonce,
        error=_error(message),
        names=tuple(message.resource_names),
        version=message.version_info,
    )


def _error(message: Any) -> str:
    if not message.HasField("error_detail"):
        return ""
    return message.error_detail.message or f"code {message.error_detail.code}"


def _delta_response(change: Change) -> bytes:
    return wire.delta(change.kind, change.nonce, change.put, change.removed)


def _whole_response(change: Change) -> bytes:
    return wire.whole(change.kind, change.nonce, change.version, change.put)
