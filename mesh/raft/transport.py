"""Connections between voters: framed messages over TCP, refused unless cluster and epoch agree."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from mesh.clock import Clock, Dice
from mesh.codec import pack, unpack
from mesh.errors import Invalid, MeshError, TooLarge, Unreachable
from mesh.raft.epochs import Epoch, Peer
from mesh.raft.messages import Hello, Message, Welcome, pack_message, unpack_message
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

RAFT_BYTE = b"\x01"
FORMAT = 1
FRAME_BYTES_MAX = 4 << 20
HELLO_BYTES_MAX = 4096
BUFFER_BYTES_MAX = 64 << 20  # Unsent bytes per connection; more means that it hangs.
INBOUND_MAX = 64
HELLO_SECONDS = 5.0
BACKOFF_SECONDS = (0.05, 1.0)
_KEEPALIVE = (  # Seconds but for the first, which is in milliseconds.
    ("TCP_USER_TIMEOUT", 8000),
    ("TCP_KEEPIDLE", 5),
    ("TCP_KEEPINTVL", 1),
    ("TCP_KEEPCNT", 3),
)
_LENGTH = struct.Struct(">I")


class Receiver(Protocol):
    """Who gets the messages, and hears of connections to other voters."""

    def connected(self, peer: str) -> None:
        """What is sent to this voter from now on arrives in order."""
        ...

    def disconnected(self, peer: str) -> None:
        """Some of what was sent may be lost."""
        ...

    def received(self, peer: str, message: Message) -> None:
        """A message. Raises Invalid to have the connection closed."""
        ...


def pack_frame(data: bytes) -> bytes:
    """The bytes with their length in front."""
    return _LENGTH.pack(len(data)) + data


async def read_frame(reader: asyncio.StreamReader, limit: int) -> bytes:
    """One frame. Raises TooLarge over the limit, Unreachable when the connection ends."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > limit:
            raise TooLarge(f"a frame of {length} bytes; {limit} are allowed")
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, OSError) as error:
        raise Unreachable("the connection ended") from error


class Transport:
    """One voter's connections in one epoch: one out to each other voter, any number in.

    Messages go only out on the connection out, and are read only from those in.
    """

    def __init__(
        self,
        me: str,
        epoch: Epoch,
        receiver: Receiver,
        resolve: Callable[[Peer], str],
        chance: tuple[Clock, Dice],
    ) -> None:
        self._me, self._epoch, self._receiver = me, epoch, receiver
        self._resolve = resolve
        self._clock, self._dice = chance
        self._peers = {peer.id: peer for peer in epoch.voters if peer.id != me}
        self._out: dict[str, asyncio.StreamWriter] = {}
        self._in: set[asyncio.StreamWriter] = set()
        self._in_from: dict[str, asyncio.StreamWriter] = {}
        self._tasks = Tasks()
        self.counters = dict.fromkeys(
            ("frames_sent", "frames_received", "refused", "rejected_frames", "connects"), 0
        )

    def start(self) -> None:
        """Begin to connect to every other voter."""
        for peer in self._peers.values():
            self._tasks.start(self._keep_connected(peer), name=f"raft to {peer.name}")

    async def stop(self) -> None:
        """Close every connection."""
        for writer in self._in:
            writer.close()
        await self._tasks.stop()

    def connected(self) -> list[str]:
        """Ids of the voters there is a connection to."""
        return sorted(self._out)

    def send(self, peer: str, message: Message) -> None:
        """Send it, or drop it when there is no connection."""
        writer = self._out.get(peer)
        if writer is None or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size() > BUFFER_BYTES_MAX:
            log.warning("the connection to %s hangs; closing it", self._peers[peer].name)
            writer.transport.abort()
            return
        writer.write(pack_frame(pack_message(message)))
        self.counters["frames_sent"] += 1

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read messages from a voter that connected, until it or we stop."""
        if len(self._in) >= INBOUND_MAX:
            self.counters["refused"] += 1
            writer.close()
            return
        self._in.add(writer)
        try:
            _give_up_early(writer)
            caller = await self._welcome(reader, writer)
            if (older := self._in_from.get(caller)) is not None:
                older.close()  # It connects once; what is left on the old one came too late.
            self._in_from[caller] = writer
            while True:
                message = unpack_message(await read_frame(reader, FRAME_BYTES_MAX))
                self.counters["frames_received"] += 1
                self._receiver.received(caller, message)
        except Unreachable:
            pass
        except (MeshError, TimeoutError) as error:
            self.counters["rejected_frames"] += 1
            peer = writer.get_extra_info("peername")
            log.warning("closing the raft connection from %s: %s", peer, error)
        finally:
            self._in.discard(writer)
            writer.close()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        async with asyncio.timeout(HELLO_SECONDS):
            hello = unpack(await read_frame(reader, HELLO_BYTES_MAX), Hello)
        refusal = self._refusal(hello)
        answer = Welcome(refusal, self._epoch.cluster, self._epoch.number)
        writer.write(pack_frame(pack(answer)))
        if refusal:
            self.counters["refused"] += 1
            raise Invalid(refusal)
        return hello.caller

    def _refusal(self, hello: Hello) -> str:
        if hello.format != FORMAT:
            return f"speaks format {hello.format}, not {FORMAT}"
        if hello.cluster != self._epoch.cluster:
            return f"is of cluster {hello.cluster}, not {self._epoch.cluster}"
        if hello.epoch != self._epoch.number:
            return f"is in epoch {hello.epoch}, not {self._epoch.number}"
        if hello.caller not in self._peers:
            return f"{hello.caller} is no voter"
        if hello.called != self._me:
            return f"looks for {hello.called}, this is {self._me}"
        return ""

    async def _keep_connected(self, peer: Peer) -> None:
        least, most = BACKOFF_SECONDS
        wait = least
        while True:
            started = self._clock.monotonic()
            try:
                await self._connection(peer)
            except (MeshError, OSError, ValueError) as error:  # ValueError: no such host name.
                log.debug("raft to %s: %s", peer.name, error)
            if self._clock.monotonic() - started > most:
                wait = least
            await self._clock.sleep(self._dice.uniform(wait / 2, wait))
            wait = min(most, wait * 2)

    async def _connection(self, peer: Peer) -> None:
        host, _, port = self._resolve(peer).rpartition(":")
        if not (port.isdecimal() and len(port) <= 5 and int(port) < 65536):
            raise Unreachable(f"no address of {peer.name} is known")
        async with asyncio.timeout(HELLO_SECONDS):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        try:
            _give_up_early(writer)
            await self._greet(peer, reader, writer)
            self._out[peer.id] = writer
            self.counters["connects"] += 1
            self._receiver.connected(peer.id)
            await read_frame(reader, 0)  # Nothing comes this way; it returns when it ends.
        finally:
            if self._out.pop(peer.id, None) is not None:
                self._receiver.disconnected(peer.id)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _greet(
        self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        epoch = self._epoch
        hello = Hello(FORMAT, epoch.cluster, epoch.number, self._me, peer.id)
        writer.write(RAFT_BYTE + pack_frame(pack(hello)))
        async with asyncio.timeout(HELLO_SECONDS):
            answer = unpack(await read_frame(reader, HELLO_BYTES_MAX), Welcome)
        if answer.refusal:
            self.counters["refused"] += 1
            raise Unreachable(f"refused: {answer.refusal}")


def _give_up_early(writer: asyncio.StreamWriter) -> None:
    """Have the kernel end a connection whose other side vanished without a word."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if (option := getattr(socket, name, None)) is not None:  # Not every system has all.
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
