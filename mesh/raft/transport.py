"""Connections between servers: framed messages, refused unless cluster and epoch agree."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Protocol

from mesh.clock import Clock, Dice
from mesh.codec import pack, unpack
from mesh.errors import Denied, MeshError, TooLarge, Unreachable
from mesh.raft import succession
from mesh.raft.epochs import Epoch, Peer, Place
from mesh.raft.messages import Chain, Hello, Message, Welcome, pack_message, unpack_message
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

RAFT_BYTE = b"\x01"
FRAME_BYTES_MAX = 4 << 20
HELLO_BYTES_MAX = 4096
CHAIN_BYTES_MAX = 1 << 20
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


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


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


class Wiring(Protocol):
    """What a transport needs of the node it belongs to."""

    async def dial(self, peer: Peer) -> Streams:
        """Connect to this server, and to no other. Raises OSError or a MeshError."""
        ...

    def identify(self, writer: asyncio.StreamWriter) -> str | None:
        """The name in the certificate of who connected; None where there is no TLS.

        Raises Denied when the certificate names no server.
        """
        ...

    def since(self, number: int) -> Sequence[Epoch]:
        """The records of the epochs after this one, oldest first."""
        ...

    def offer(self, records: Sequence[Epoch]) -> None:
        """Another server told of these epochs. Raises Invalid when they contradict ours."""
        ...


class Transport:
    """A server's connections in one epoch: one out to each other server, any number in.

    Messages go only out on the connection out, and are read only from those in. A server that
    belongs to no cluster yet has no place: it only hears of one.
    """

    def __init__(
        self,
        me: str,
        place: Place | None,
        receiver: Receiver,
        wiring: Wiring,
        chance: tuple[Clock, Dice],
    ) -> None:
        self._me, self._place, self._receiver, self._wiring = me, place, receiver, wiring
        self._clock, self._dice = chance
        voters = place.epoch.voters if place else ()
        self._voters = {peer.id: peer for peer in voters if peer.id != me}
        self._peers = dict(self._voters)
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._started = False
        self._out: dict[str, asyncio.StreamWriter] = {}
        self._in: dict[asyncio.StreamWriter, str] = {}  # Empty until it said who it is.
        self._in_from: dict[str, asyncio.StreamWriter] = {}
        self._tasks = Tasks()
        self.observing: set[str] = set()  # Who said last that it must not vote.
        self.counters = dict.fromkeys(
            ("frames_sent", "frames_received", "refused", "rejected_frames", "connects"), 0
        )

    def start(self) -> None:
        """Begin to connect to every other server."""
        self._started = True
        self._keep_all()

    def follow(self, learners: Iterable[Peer]) -> None:
        """Speak with these servers too, which have no vote, and with no others but the voters."""
        also = {peer.id: peer for peer in learners if peer.id != self._me}
        self._peers = also | self._voters
        self._keep_all()

    def _keep_all(self) -> None:
        if not self._started:
            return
        for gone in set(self._keeping) - set(self._peers):
            self._keeping.pop(gone).cancel()
            if (writer := self._in_from.get(gone)) is not None:
                writer.close()
        for name, peer in self._peers.items():
            if name not in self._keeping:
                task = self._tasks.start(self._keep_connected(name), name=f"raft to {peer.name}")
                self._keeping[name] = task

    async def stop(self) -> None:
        """Close every connection."""
        for writer in self._in:
            writer.close()
        await self._tasks.stop()

    def connected(self) -> list[str]:
        """Ids of the servers there is a connection to."""
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
        """Read messages from a server that connected, until it or we stop."""
        if len(self._in) >= INBOUND_MAX:
            silent = next((each for each, name in self._in.items() if not name), writer)
            self.counters["refused"] += 1
            silent.close()
            if silent is writer:
                return
        self._in[writer] = ""
        try:
            _give_up_early(writer)
            caller = await self._welcome(reader, writer)
            while caller:
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
            name = self._in.pop(writer, "")
            if self._in_from.get(name) is writer:
                del self._in_from[name]
            writer.close()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Who called, if it is in our epoch; else one of us learns of the other's, and it ends."""
        async with asyncio.timeout(HELLO_SECONDS):
            hello = unpack(await read_frame(reader, HELLO_BYTES_MAX), Hello)
            place, me = self._place, self._me
            answer = succession.answer(place, self._wiring.since, me, hello, self._knows)
            if not answer.refusal:
                self._check_identity(hello.caller, writer)
            writer.write(pack_frame(pack(answer)))
            if answer.refusal:
                self.counters["refused"] += 1
                # A server that has just been removed or added asks again until all know.
                ours = hello.cluster == answer.cluster
                from_whom = writer.get_extra_info("peername")
                level = logging.DEBUG if ours else logging.WARNING
                log.log(level, "refused a raft connection from %s: %s", from_whom, answer.refusal)
                raise Unreachable(answer.refusal)
            if hello.epoch > answer.epoch:
                chain = unpack(await read_frame(reader, CHAIN_BYTES_MAX), Chain)
                self._wiring.offer(chain.records)
        if hello.epoch != answer.epoch or not hello.epoch:
            await writer.drain()
            return ""
        self._note(hello.caller, observes=hello.observes)
        if (older := self._in_from.get(hello.caller)) is not None:
            older.close()  # It connects once; what is left on the old one came too late.
        self._in[writer] = hello.caller
        self._in_from[hello.caller] = writer
        return hello.caller

    def _knows(self, caller: str) -> bool:
        return caller in self._peers

    def _check_identity(self, caller: str, writer: asyncio.StreamWriter) -> None:
        name, peer = self._wiring.identify(writer), self._peers.get(caller)
        if name is not None and peer is not None and peer.name.lower() != name:
            self.counters["refused"] += 1
            raise Denied(f"the certificate names {name}, but {peer.name} was said")

    def _note(self, peer: str, *, observes: bool) -> None:
        if observes:
            self.observing.add(peer)
        else:
            self.observing.discard(peer)

    async def _keep_connected(self, name: str) -> None:
        least, most = BACKOFF_SECONDS
        wait = least
        while (peer := self._peers.get(name)) is not None:
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
        async with asyncio.timeout(HELLO_SECONDS):
            reader, writer = await self._wiring.dial(peer)
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
        hello = succession.hello(self._place, self._me, peer.id)
        writer.write(RAFT_BYTE + pack_frame(pack(hello)))
        async with asyncio.timeout(HELLO_SECONDS):
            answer = unpack(await read_frame(reader, CHAIN_BYTES_MAX), Welcome)
            if answer.refusal:
                self.counters["refused"] += 1
                raise Unreachable(f"refused: {answer.refusal}")
            if answer.epoch < hello.epoch:
                chain = Chain(list(self._wiring.since(answer.epoch)))
                writer.write(pack_frame(pack(chain)))
                await read_frame(reader, 0)  # It closes the connection when it has read that.
        if answer.epoch > hello.epoch:
            self._wiring.offer(answer.records)
        if answer.epoch != hello.epoch:
            raise Unreachable(f"is in epoch {answer.epoch}, not {hello.epoch}")
        self._note(peer.id, observes=answer.observes)


async def dial(address: str) -> Streams:
    """Connect over plain TCP to `ip:port`. Raises Unreachable when that is no address."""
    return await asyncio.open_connection(*host_and_port(address))


def host_and_port(address: str) -> tuple[str, int]:
    """The two parts of `ip:port`. Raises Unreachable when that is no address."""
    host, _, port = address.rpartition(":")
    if not (port.isdecimal() and len(port) <= 5 and int(port) < 65536):
        raise Unreachable(f'"{address}" is no address')
    return host.strip("[]"), int(port)


def _give_up_early(writer: asyncio.StreamWriter) -> None:
    """Have the kernel end a connection whose other side vanished without a word."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if (option := getattr(socket, name, None)) is not None:  # Not every system has all.
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
