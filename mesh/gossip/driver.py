"""The gossip driver: sockets and a timer around the cores, and what other parts may ask of them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from mesh.clock import Clock, Dice
from mesh.errors import Conflict, Invalid, MeshError, NotFound, Unreachable
from mesh.gossip import intents
from mesh.gossip.intents import Intents
from mesh.gossip.members import Member, MemberEvent
from mesh.gossip.messages import (
    COMPRESS,
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Message,
    Nack,
    Ping,
    Suspect,
    User,
    check_name,
    encode,
    encode_tags,
)
from mesh.gossip.packets import join, split
from mesh.gossip.probe import Probing
from mesh.gossip.streams import PushPull, StreamMessage, StreamReader, encode_push_pull
from mesh.gossip.swim import Exchange, Notice, Remark, Send, Swim, TcpPing
from mesh.tasks import Tasks

log = logging.getLogger(__name__)
T = TypeVar("T")

STREAMS_MAX = 128
BIND_TRIES = 20
READ_BYTES = 65536
RECEIVE_BUFFER_BYTES = 2 * 1024 * 1024


class Options(intents.Options, frozen=True, kw_only=True):
    """How this node takes part in the pool."""

    bind_address: str
    bind_port: int = 0
    """0 takes any port that is free for datagrams and streams."""
    advertise_address: str = ""
    """The address others reach this node at; the bound one when empty."""
    advertise_port: int = 0
    stream_timeout_seconds: float = 10.0
    """How long one exchange over a stream may take."""
    leave_timeout_seconds: float = 5.0
    """How long leaving waits for each of its two messages to spread."""
    leave_propagate_seconds: float = 1.0
    """How long a node that left goes on answering, so that the news spreads."""


class Gossip(asyncio.DatagramProtocol):
    """This node's membership in one pool."""

    def __init__(
        self,
        name: str,
        options: Options,
        clock: Clock,
        dice: Dice,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing happens before `start`. Raises Invalid for a name or tags that are too long."""
        check_name(name)
        self.name, self.options = name, options
        self._clock, self._dice = clock, dice
        self._meta = encode_tags(tags or {})
        now = clock.monotonic()
        self._swim = Swim(name, options, dice, now)
        self._probing = Probing(self._swim, now)
        self._intents = Intents(self._swim, options, now)
        self._tasks = Tasks()
        self._wake = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._congested = False
        self._streams = 0
        self._listeners: list[Callable[[MemberEvent], None]] = []
        self._running = False
        self.address: tuple[str, int] = (options.advertise_address, options.advertise_port)
        self.counters: Counter[str] = Counter()

    # Life

    async def start(self) -> None:
        """Bind and enter the list. Raises Conflict, naming the address, when it cannot bind."""
        host, port = await self._bind()
        self.address = (
            self.options.advertise_address or host,
            self.options.advertise_port or port,
        )
        self._swim.go_live(self._clock.monotonic(), *self.address, self._meta)
        self._intents.enter()
        self._running = True
        self._tasks.start(self._run(), name="gossip timer")
        self._perform()

    async def _bind(self) -> tuple[str, int]:
        host, wanted = self.options.bind_address, self.options.bind_port
        loop = asyncio.get_running_loop()
        for attempt in range(BIND_TRIES):
            try:
                self._server = await asyncio.start_server(self._accept, host, wanted)
                port = self._server.sockets[0].getsockname()[1]
                self._transport, _ = await loop.create_datagram_endpoint(
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
                stream: socket.socket = self._transport.get_extra_info("socket")
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
                return host, port
        raise AssertionError("the last attempt returns or raises")

    async def stop(self) -> None:
        """Close everything without a word to the others."""
        self._running = False
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()
        await self._tasks.stop()

    async def leave(self) -> None:
        """Tell the others goodbye; answers them until `stop`. Returns once the news has spread."""
        if self._swim.leaving:
            return
        others = any(not peer.gone for peer in self._swim.others())
        self._swim.leaving = True
        now = self._clock.monotonic()
        await self._spread(
            others,
            lambda done: self._intents.announce_leave(now, self.name, prune=False, done=done),
        )
        await self._spread(others, self._swim.leave)
        if others:
            await self._clock.sleep(self.options.leave_propagate_seconds)

    async def _spread(self, wait: bool, announce: Callable[[Callable[[], None]], None]) -> None:
        spread = asyncio.Event()
        announce(spread.set)
        self._perform()
        if wait:
            try:
                async with asyncio.timeout(self.options.leave_timeout_seconds):
                    await spread.wait()
            except TimeoutError:
                log.warning("leaving: the news may not have reached everybody")

    # What others may ask

    def members(self) -> list[Member]:
        """Every member known, also those that failed or left; ordered by name."""
        return self._intents.members()

    def member(self, name: str) -> Member | None:
        """The member of this name."""
        return self._intents.member(name)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Change what this node says of itself. Raises Invalid when it takes over 512 bytes."""
        self._meta = encode_tags(tags)
        if self._running:
            self._swim.set_meta(self._meta)
            self._perform()

    async def force_leave(self, name: str, prune: bool = False) -> None:
        """Take a failed member for left; prune also forgets it. Raises NotFound."""
        member = self.member(name)
        if member is None:
            raise NotFound(f"No node found with name '{name}'")
        now = self._clock.monotonic()
        self._intents.announce_leave(now, name, prune=prune, done=lambda: None)
        self._perform()

    def listen(self, listener: Callable[[MemberEvent], None]) -> Callable[[], None]:
        """Call the listener with every member event; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    @property
    def health_score(self) -> int:
        """Lifeguard's local health: 0 is healthy, up to 7."""
        return self._swim.awareness

    async def join(self, addresses: Sequence[str]) -> int:
        """Exchange state with each address (`host`, `host:port`, `[v6]:port`).

        Returns how many answered. Raises Unreachable, naming every failure, when none did, and
        Conflict after `leave`.
        """
        if self._swim.leaving:
            raise Conflict("this node has left the pool; it can join again after a restart")
        joined, failures = 0, []
        for address in addresses:
            try:
                host, port = _parse(address, self.address[1])
                await self._exchange(host, port, join=True)
                joined += 1
            except MeshError as error:
                failures.append(f"{address}: {error}")
        if addresses and not joined:
            raise Unreachable("; ".join(failures))
        if not self._swim.leaving:
            self._intents.announce_join()
            self._perform()
        return joined

    # The timer

    async def _run(self) -> None:
        while True:
            now = self._clock.monotonic()
            self._swim.tick(now)
            self._probing.tick(now)
            self._intents.tick(now)
            self._perform()
            pause = self._deadline() - self._clock.monotonic()
            if pause > 0:
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()

    def _deadline(self) -> float:
        return min(self._swim.deadline(), self._probing.deadline(), self._intents.deadline())

    def _perform(self) -> None:
        before = self._deadline()
        while effects := self._swim.take():
            for effect in effects:
                if isinstance(effect, Send):
                    self._send(effect)
                elif isinstance(effect, Notice):
                    self._intents.notice(self._clock.monotonic(), effect)
                elif isinstance(effect, Remark):
                    log.log(logging.WARNING if effect.warning else logging.INFO, effect.text)
                elif isinstance(effect, TcpPing):
                    self._background(self._tcp_ping(effect), "gossip tcp ping")
                else:
                    self._background(self._push_pull(effect), "gossip push/pull")
        for event in self._intents.take():
            for listener in list(self._listeners):
                self._tell(listener, event)
        if self._deadline() < before:
            self._wake.set()

    def _tell(self, listener: Callable[[MemberEvent], None], event: MemberEvent) -> None:
        # Others wrote it: when it fails, the timer that brought the event must go on.
        try:
            listener(event)
        except Exception:
            self.counters["listener_failures"] += 1
            log.exception("a listener failed on the %s of %s", event.kind, event.member.name)

    def _background(self, work: Awaitable[None], name: str) -> None:
        async def guarded() -> None:
            try:
                await work
            except MeshError as error:
                log.debug("%s: %s", name, error)

        self._tasks.start(guarded(), name=name)

    def _send(self, effect: Send) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._congested:
            self.counters["packets_dropped"] += 1
            return
        packet = join(effect.parts, crc=effect.crc)
        self._transport.sendto(packet, (effect.address, effect.port))

    def pause_writing(self) -> None:
        """The system takes no more datagrams and asyncio would keep any number: drop them."""
        self._congested = True

    def resume_writing(self) -> None:
        """The system takes datagrams again."""
        self._congested = False

    # Datagrams

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Take a datagram apart and act on each message in it."""
        messages, problems = split(data)
        for problem in problems:
            self.counters["malformed_packets"] += 1
            log.debug("from %s:%d: %s", *addr[:2], problem)
        now = self._clock.monotonic()
        for message in messages:
            try:
                self._receive(now, message, (addr[0], addr[1]))
            except Invalid as problem:
                self.counters["malformed_messages"] += 1
                log.debug("from %s:%d: %s", *addr[:2], problem)
        self._perform()

    def error_received(self, exc: Exception) -> None:
        """An ICMP error: the probe will tell."""
        self.counters["send_errors"] += 1
        log.debug("datagram: %s", exc)

    def _receive(self, now: float, message: Message, source: tuple[str, int]) -> None:
        match message:
            case Ping():
                self._probing.ping(message, source)
            case IndirectPing():
                self._probing.indirect_ping(now, message, source)
            case Ack():
                self._probing.ack(message)
            case Nack():
                self._probing.nack(message)
            case Alive():
                self._swim.alive(now, message)
            case Suspect():
                self._swim.suspect(now, message)
            case Dead():
                self._swim.dead(now, message)
            case User():
                self._perform()
                self._intents.receive(now, message.payload)
            case _:
                self.counters["unexpected_messages"] += 1

    # Streams

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.start(self._serve(reader, writer), name="gossip stream")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._streams >= STREAMS_MAX:
            self.counters["streams_refused"] += 1
            writer.close()
            return
        self._streams += 1
        try:
            async with asyncio.timeout(self.options.stream_timeout_seconds):
                message = await _read(reader)
                self._answer(message, writer)
                await writer.drain()
        except Invalid as problem:
            self.counters["malformed_streams"] += 1
            log.debug("stream: %s", problem)
        except (OSError, TimeoutError):
            self.counters["broken_streams"] += 1
        finally:
            self._streams -= 1
            writer.close()

    def _answer(self, message: StreamMessage, writer: asyncio.StreamWriter) -> None:
        if isinstance(message, PushPull):
            # What this node knew before: the reply does not depend on the request.
            writer.write(self._state(join=False))
            self._merge(message)
        elif isinstance(message, Ping):
            if message.node in {"", self.name}:
                writer.write(encode(Ack(message.seq)))
        elif isinstance(message, User):
            self._intents.receive(self._clock.monotonic(), message.payload)
        self._perform()

    def _state(self, *, join: bool) -> bytes:
        return encode_push_pull(PushPull(self._swim.states(), self._intents.state(), join))

    def _merge(self, message: PushPull) -> None:
        now = self._clock.monotonic()
        self.counters["malformed_states"] += self._swim.merge(now, message.nodes)
        # Members first: Serf's part is about them.
        self._perform()
        self._intents.merge(now, message.user_state)
        self._perform()

    async def _push_pull(self, effect: Exchange) -> None:
        await self._exchange(effect.address, effect.port, join=effect.join)

    async def _exchange(self, host: str, port: int, *, join: bool) -> None:
        reply = await self._ask(
            host, port, self._state(join=join), self.options.stream_timeout_seconds
        )
        if not isinstance(reply, PushPull):
            raise Unreachable(f"{host}:{port} answered with {reply}")
        self._merge(reply)

    async def _tcp_ping(self, effect: TcpPing) -> None:
        seconds = effect.deadline - self._clock.monotonic()
        ping = encode(Ping(effect.seq, effect.node))
        reply = await self._ask(effect.address, effect.port, ping, seconds)
        if isinstance(reply, Ack) and reply.seq == effect.seq:
            log.warning("%s answers over TCP but not over UDP", effect.node)
            self._probing.tcp_answered(effect.seq)

    async def _ask(self, host: str, port: int, body: bytes, seconds: float) -> StreamMessage:
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


def _parse(address: str, default_port: int) -> tuple[str, int]:
    host, port = address, str(default_port)
    if address.startswith("["):
        host, end, rest = address[1:].partition("]")
        port = rest.removeprefix(":") or port
        if not end:
            host = ""
    elif address.count(":") == 1:
        host, port = address.split(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Invalid(f'"{address}": expected host, host:port or [address]:port')
    return host, int(port)
