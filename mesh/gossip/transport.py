"""The gossip transport: one datagram socket and streams on the same port."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from mesh.errors import Conflict, Invalid, Unreachable
from mesh.gossip.messages import COMPRESS, Message
from mesh.gossip.packets import join, split
from mesh.gossip.streams import StreamMessage, StreamReader
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

STREAMS_MAX = 128
BIND_TRIES = 20
READ_BYTES = 65536
RECEIVE_BUFFER_BYTES = 2 * 1024 * 1024


class Transport(asyncio.DatagramProtocol):
    """Bytes in and out of one node.

    `hear` gets the messages of each datagram and where it came from; `answer` gets the message of
    each stream somebody opened and gives the bytes to send back, empty for none. Either may raise
    Invalid, which is counted.
    """

    def __init__(
        self,
        hear: Callable[[Sequence[Message], tuple[str, int]], None],
        answer: Callable[[StreamMessage], Awaitable[bytes]],
        stream_seconds: float,
    ) -> None:
        """Nothing happens before `bind`. A stream may take `stream_seconds`."""
        self._hear, self._answer, self._stream_seconds = hear, answer, stream_seconds
        self._datagrams: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._tasks = Tasks()
        self._congested = False
        self._streams = 0
        self.counters: Counter[str] = Counter()

    # Life

    async def bind(self, host: str, wanted: int) -> tuple[str, int]:
        """Listen; with port 0 on any that is free for datagrams and streams.

        Returns the address. Raises Conflict, naming the address, when it cannot.
        """
        loop = asyncio.get_running_loop()
        for attempt in range(BIND_TRIES):
            try:
                self._server = await asyncio.start_server(self._accept, host, wanted)
                port = self._server.sockets[0].getsockname()[1]
                self._datagrams, _ = await loop.create_datagram_endpoint(
                    lambda: self, local_addr=(host, port)
                )
            except OSError as error:
                if self._server is not None:
                    self._server.close()
                    self._server = None
                if wanted or attempt == BIND_TRIES - 1:
                    raise Conflict(
                        f"cannot listen on {host}:{wanted} (gossip port): {error}"
                    ) from error
            else:
                stream: socket.socket = self._datagrams.get_extra_info("socket")
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
                return host, port
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        """Close everything."""
        if self._datagrams is not None:
            self._datagrams.close()
        if self._server is not None:
            self._server.close()
        await self._tasks.stop()

    # Datagrams

    def send(self, address: str, port: int, parts: Sequence[bytes], *, crc: bool) -> None:
        """Send encoded messages in one datagram; drops it, counted, when the system is full."""
        if self._datagrams is None or self._datagrams.is_closing():
            return
        if self._congested:
            self.counters["packets_dropped"] += 1
            return
        packet = join(parts, crc=crc)
        self.counters["packets_sent"] += 1
        self.counters["bytes_sent"] += len(packet)
        self._datagrams.sendto(packet, (address, port))

    def pause_writing(self) -> None:
        """The system takes no more datagrams and asyncio would keep any number: drop them."""
        self._congested = True

    def resume_writing(self) -> None:
        """The system takes datagrams again."""
        self._congested = False

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Take a datagram apart and pass its messages on."""
        self.counters["packets_received"] += 1
        self.counters["bytes_received"] += len(data)
        messages, problems = split(data)
        for problem in problems:
            self.counters["malformed_packets"] += 1
            log.debug("from %s:%d: %s", *addr[:2], problem)
        self._hear(messages, (addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """An ICMP error: the probe will tell."""
        self.counters["send_errors"] += 1
        log.debug("datagram: %s", exc)

    # Streams

    async def ask(self, host: str, port: int, body: bytes, seconds: float) -> StreamMessage:
        """Send a message over a stream and read the answer. Raises Unreachable or Invalid."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(body)
                return await _read(reader)
        except TimeoutError:
            raise Unreachable(f"no answer within {seconds:.1f} s") from None
        except OSError as error:
            raise Unreachable(str(error)) from error
        finally:
            if writer is not None:
                writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.start(self._serve(reader, writer), name="gossip stream")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._streams >= STREAMS_MAX:
            self.counters["streams_refused"] += 1
            writer.close()
            return
        self._streams += 1
        try:
            async with asyncio.timeout(self._stream_seconds):
                message = await _read(reader)
                if reply := await self._answer(message):
                    writer.write(reply)
                await writer.drain()
        except Invalid as problem:
            self.counters["malformed_streams"] += 1
            log.debug("stream: %s", problem)
        except (OSError, TimeoutError):
            self.counters["broken_streams"] += 1
        finally:
            self._streams -= 1
            writer.close()


async def _read(reader: asyncio.StreamReader) -> StreamMessage:
    parser = StreamReader()
    data = await reader.read(READ_BYTES)
    compressed = data[:1] == bytes((COMPRESS,))
    while data:
        # Unpacking the largest stream takes seconds, in which no ping would be answered.
        if compressed:
            message = await asyncio.to_thread(parser.feed, data)
        else:
            message = parser.feed(data)
        if message is not None:
            return message
        data = await reader.read(READ_BYTES)
    raise Invalid("the stream ended within a message")
