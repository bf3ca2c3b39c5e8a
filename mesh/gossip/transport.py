"""The gossip transport: one datagram socket and streams on the same port, sealed for one pool."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mesh.accepting import arrived, leave
from mesh.errors import Busy, Conflict, Invalid, Unreachable
from mesh.gossip.messages import COMPRESS, Fault, Message, User
from mesh.gossip.options import Compression
from mesh.gossip.packets import join, pack, split
from mesh.gossip.sealing import Opener, Rejected, Sealing
from mesh.gossip.streams import (
    STREAM_MAX_BYTES,
    PushPull,
    StreamMessage,
    StreamReader,
    encode_stream,
)
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

T = TypeVar("T")
_In = TypeVar("_In")

STREAMS_MAX = 128
HELD_MAX_BYTES = 256 * 1024 * 1024
"""All that open streams may have sent, together."""
BIND_TRIES = 20
READ_BYTES = 65536
"""More than this, of one stream, is read and written by a thread."""
NODES_INLINE = 200
THREADS = 2
REFUSAL_SECONDS = 1.0
"""How long a stream that was refused may go on, so that the other side reads why."""
COMPLAINT_SECONDS = 60.0
"""How often strangers of one kind are worth a line in the log."""
RECEIVE_BUFFER_BYTES = 2 * 1024 * 1024


class _SaidNothing(Invalid):
    """A stream ended without a byte: whoever opened it gave up in that moment."""


class Transport(asyncio.DatagramProtocol):
    """Bytes in and out of one node.

    `hear` gets the messages of each datagram and where it came from; `answer` gets the message of
    each stream somebody opened and gives the one to send back, None for none. Either may raise
    Invalid, which is counted. What is not sealed as `sealing` does is dropped and counted.
    """

    def __init__(
        self,
        hear: Callable[[Sequence[Message], tuple[str, int]], None],
        answer: Callable[[StreamMessage], Awaitable[StreamMessage | None]],
        sealing: Sealing,
        stream_seconds: float,
        compression: Compression,
    ) -> None:
        """Nothing happens before `bind`. A stream may take `stream_seconds`."""
        self._hear, self._answer, self._sealing = hear, answer, sealing
        self._stream_seconds, self._compression = stream_seconds, compression
        self._datagrams: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._closed = False
        self._tasks = Tasks()
        self._threads = ThreadPoolExecutor(THREADS, "gossip")
        self._congested = False
        self._refused: Exception | None = None
        self._streams = 0
        self._held = 0
        self._complained: dict[str, float] = {}
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
        self._closed = True
        if self._datagrams is not None:
            self._datagrams.close()
        if self._server is not None:
            leave(self._server)
            await arrived()
        await self._tasks.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # Datagrams

    def send(
        self, address: str, port: int, parts: Sequence[bytes], *, crc: bool
    ) -> Exception | None:
        """Send encoded messages in one datagram; drops it, counted, when the system is full.

        Returns why it was not sent, as far as the system says so at once.
        """
        if self._datagrams is None or self._datagrams.is_closing():
            return None
        if self._congested:
            self.counters["packets_dropped"] += 1
            return OSError(errno.ENOBUFS, "the system takes no more datagrams")
        packet = self._sealing.seal_packet(join(parts, crc=crc, compress=self._compression.packets))
        self.counters["packets_sent"] += 1
        self.counters["bytes_sent"] += len(packet)
        self._refused = None
        self._datagrams.sendto(packet, (address, port))
        return self._refused

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
        try:
            packet = self._sealing.open_packet(data)
        except Rejected as problem:
            self._reject("packets", problem, addr[0])
            return
        messages, problems = split(packet)
        for fault in problems:
            self.counters["malformed_packets"] += 1
            log.debug("from %s:%d: %s", *addr[:2], fault)
        self._hear(messages, (addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """A refusal of the system, given at once while sending; or an ICMP error, by itself."""
        self._refused = exc
        self.counters["send_errors"] += 1
        log.debug("datagram: %s", exc)

    # Streams

    async def ask(
        self, host: str, port: int, message: StreamMessage, seconds: float
    ) -> StreamMessage:
        """Send a message over a stream and read the answer. Raises Unreachable or Invalid."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(seconds):
                body = await self._encode(message)
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(self._sealing.head + body)
                return await self._read(reader, self._sealing.opener(answers=True))
        except Rejected as problem:
            self._reject("streams", problem, host)
            raise Unreachable(f"its answer {problem}: {_ADVICE[problem.reason]}") from problem
        except TimeoutError:
            raise Unreachable(f"no answer within {seconds:.1f} s") from None
        except OSError as error:
            raise Unreachable(str(error)) from error
        finally:
            if writer is not None:
                writer.close()

    async def tell(self, host: str, port: int, message: StreamMessage, seconds: float) -> None:
        """Send a message that has no answer over a stream. Raises Unreachable or Invalid."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(seconds):
                body = await self._encode(message)
                _, writer = await asyncio.open_connection(host, port)
                writer.write(self._sealing.head + body)
                await writer.drain()
        except TimeoutError:
            raise Unreachable(f"not sent within {seconds:.1f} s") from None
        except OSError as error:
            raise Unreachable(str(error)) from error
        finally:
            if writer is not None:
                writer.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:
            writer.close()
            return
        task = self._tasks.start(self._serve(reader, writer), name="gossip stream")
        # A task that is cancelled before it begins closes nothing itself.
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._streams >= STREAMS_MAX:
            self.counters["streams_refused"] += 1
            writer.close()
            return
        self._streams += 1
        try:
            async with asyncio.timeout(self._stream_seconds):
                await self._converse(reader, writer)
        except Busy:
            self.counters["streams_refused"] += 1
        except (OSError, TimeoutError):
            self.counters["broken_streams"] += 1
        finally:
            self._streams -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            message = await self._read(reader, self._sealing.opener())
            if reply := await self._answer(message):
                writer.write(await self._encode(reply))
            await writer.drain()
        except Rejected as problem:
            self._reject("streams", problem, _source(writer))
            # Another pool is told nothing.
            if problem.reason != "wrong_label":
                await self._refuse(problem, reader, writer)
        except _SaidNothing:
            self.counters["broken_streams"] += 1
        except Invalid as problem:
            self.counters["malformed_streams"] += 1
            log.debug("stream: %s", problem)
            await self._refuse(problem, reader, writer)

    async def _refuse(
        self, problem: Invalid, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Say what was wrong. What is still coming is read: left unread, it would undo this."""
        left = STREAM_MAX_BYTES
        try:
            writer.write(await self._encode(Fault(f"refused: the stream {problem}")))
            writer.write_eof()
            async with asyncio.timeout(REFUSAL_SECONDS):
                while left > 0 and (data := await reader.read(READ_BYTES)):
                    left -= len(data)
        except (OSError, TimeoutError):
            log.debug("the refusal of a stream may not have arrived")

    async def _read(self, reader: asyncio.StreamReader, opener: Opener) -> StreamMessage:
        parser, compressed, size = StreamReader(), None, 0
        try:
            while data := await reader.read(READ_BYTES):
                size += len(data)
                self._held += len(data)
                if self._held > HELD_MAX_BYTES:
                    raise Busy("open streams hold too much already")
                # Opening, unpacking or reading much takes long; meanwhile pings are answered.
                large = size > READ_BYTES
                plain = await self._run(large, opener.feed, data)
                if not plain:
                    continue
                if compressed is None:
                    compressed = plain[0] == COMPRESS
                message = await self._run(large or compressed, parser.feed, plain)
                if message is not None:
                    return message
        finally:
            self._held -= size
        if not size:
            raise _SaidNothing("ended before a message")
        raise Invalid("ended within a message")

    async def _encode(self, message: StreamMessage) -> bytes:
        large = False
        if isinstance(message, PushPull):
            large = len(message.nodes) > NODES_INLINE or len(message.user_state) > READ_BYTES
        elif isinstance(message, User):
            large = len(message.payload) > READ_BYTES
        return await self._run(large, self._encoded, message)

    def _encoded(self, message: StreamMessage) -> bytes:
        body = encode_stream(message)
        if 0 < self._compression.streams_from_bytes <= len(body):
            body = pack(body)
        return self._sealing.seal_stream(body)

    async def _run(self, large: bool, work: Callable[[_In], T], data: _In) -> T:
        if not large:
            return work(data)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, data)

    # Strangers

    def _reject(self, what: str, problem: Rejected, host: str) -> None:
        """Count what is not of this pool, and say so now and then."""
        name = f"{what}_{problem.reason}"
        self.counters[name] += 1
        now = asyncio.get_running_loop().time()
        if now - self._complained.get(problem.reason, -COMPLAINT_SECONDS) < COMPLAINT_SECONDS:
            return
        self._complained[problem.reason] = now
        log.warning(
            "gossip from %s %s; ignored (%d %s so far): %s",
            *(host, problem, self.counters[name], what, _ADVICE[problem.reason]),
        )


_ADVICE = {
    "unauthenticated": "give every node of the pool the same key (option encrypt)",
    "encrypted": "give every node of the pool the same key (option encrypt)",
    "wrong_label": "give every node of the pool the same label (option gossip_label)",
}


def _source(writer: asyncio.StreamWriter) -> str:
    return str((writer.get_extra_info("peername") or ("somebody",))[0])
