"""Fronts: the main process's care for its workers.

It binds their sockets and keeps them open, so that what waits in them when a worker dies is found
by the next one; shows them on the board what still holds; and answers whatever they cannot.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import msgspec

from mesh.clock import Clock
from mesh.dns.options import Options as DnsOptions
from mesh.dns.server import DnsServer
from mesh.front.board import Board
from mesh.front.frames import Answer, Ask, Frames, Kind, Report, Setup, frame, told
from mesh.front.link import Link
from mesh.front.offers import Offers
from mesh.http.server import HttpServer
from mesh.registry.port import Registry
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.05
ALIVE_SECONDS = 1.0
SILENT_BEATS = 100
"""A worker that says nothing while the main process was at work for so many beats hangs."""
PAUSE_SECONDS = (0.05, 5.0)
"""Before a worker is replaced: the first time, and at most if the new ones die too."""
LIVED_SECONDS = 10.0
"""Who lived so long did not die of how it was started."""
HALT_SECONDS = 2.0


class Fronts:
    """The workers of a node, one for each share of sockets that HTTP and DNS have.

    `leased_until` says until when this node surely leads alone, 0 if it does not.
    """

    def __init__(
        self,
        edges: tuple[HttpServer, DnsServer, DnsOptions],
        registry: Registry,
        clock: Clock,
        leased_until: Callable[[], float],
    ) -> None:
        self.http, self.dns, self._dns_options = edges
        self.board = Board()
        self.offers = Offers(self.board, registry)
        self._clock, self._leased_until = clock, leased_until
        self._tasks = Tasks()
        self.workers: list[_Worker] = []
        self.counters = {"started": 0, "died": 0, "hung": 0}
        self._halting = asyncio.Event()

    async def start(self) -> None:
        """Have the workers start; they take clients as soon as they are up."""
        self._show()
        _ = self._tasks.start(self._beat(), name="front beat")
        for number in range(len(self.http.shares)):
            worker = _Worker(self, number)
            self.workers.append(worker)
            _ = self._tasks.start(self._keep_up(worker), name=f"worker {number}")

    def lease_lost(self) -> None:
        """This node may not lead alone any more: said before anybody else may lead."""
        self.board.leased_until = 0.0

    def reload(self, dns_options: DnsOptions) -> None:
        """Answer by the edges' new options from now on."""
        self._dns_options = dns_options
        self.offers.clear()
        for worker in self.workers:
            worker.send(told(Kind.SETUP, self.setup()))

    def halt(self) -> None:
        """Have the workers take no more clients and finish what is under way."""
        self._halting.set()
        self.board.bump_all()
        for worker in self.workers:
            worker.send(frame(Kind.HALT))

    async def stop(self) -> None:
        """End the workers."""
        self._halting.set()
        for worker in self.workers:
            worker.close()
        until = self._clock.monotonic() + HALT_SECONDS
        while any(one.runs for one in self.workers) and self._clock.monotonic() < until:
            await self._clock.sleep(0.01)
        await self._tasks.stop()
        for worker in self.workers:
            worker.kill()

    def setup(self) -> Setup:
        """What workers work with, but for sockets."""
        packed, options = msgspec.msgpack.encode(self._dns_options), self.http.options
        level = logging.getLogger("mesh").getEffectiveLevel()
        return Setup(options.idle_seconds, options.access_log, packed, level)

    async def answer(self, ask: Ask) -> Answer:
        """Answer a DNS question that came to a worker."""
        resolver = self.dns.resolver
        resolver.turn()
        response = resolver.at_once(ask.data, tcp=ask.tcp)
        if response is None:
            response = await resolver.resolve_anew(ask.data, tcp=ask.tcp, peer=ask.peer)
        kept = resolver.keeping(ask.data, tcp=ask.tcp)
        if kept is None:
            return Answer(ask.number, response)
        terms = self.offers.terms(*kept.reading, kept.value)
        if terms is None:
            return Answer(ask.number, response)
        return Answer(ask.number, response, terms, kept.variants, kept.most)

    def took(self, report: Report) -> None:
        """Count what a worker did."""
        http, dns = self.http.counters, self.dns.counters
        http["access_lost"] += report.access_lost
        for label, took in report.http.items():
            http["requests"] += took.count
            http["hits"] += took.count
            self.http.timers.add(label, took.count, took.seconds, took.samples)
        for name, count in report.dns.items():
            dns[name] += count

    def stats(self) -> dict[str, object]:
        """Figures for people."""
        running = [one.pid for one in self.workers if one.runs]
        pids = ",".join(map(str, running))
        return {"running": len(running), "pids": pids, "offers": len(self.offers), **self.counters}

    def _show(self) -> None:
        self.board.alive_until = self._clock.monotonic() + ALIVE_SECONDS
        self.board.leased_until = self._leased_until()

    async def _beat(self) -> None:
        while True:
            self._show()
            for worker in self.workers:
                worker.beat()
            await self._clock.sleep(BEAT_SECONDS)

    async def _keep_up(self, worker: _Worker) -> None:
        pause = PAUSE_SECONDS[0]
        while not self._halting.is_set():
            began = self._clock.monotonic()
            self.counters["started"] += 1
            try:
                code = await worker.run()
            except OSError as error:
                log.error("worker %d cannot be started: %s", worker.number, error)  # noqa: TRY400
                code = -1
            if self._halting.is_set():
                return
            self.counters["died"] += 1
            if self._clock.monotonic() - began > LIVED_SECONDS:
                pause = PAUSE_SECONDS[0]
            log.warning(
                "worker %d ended with %s: another takes its place in %.2f s",
                worker.number,
                code,
                pause,
            )
            await self._clock.sleep(pause)
            pause = min(2 * pause, PAUSE_SECONDS[1])


class _Worker(asyncio.Protocol):
    """One worker as the main process sees it: the process and the streams to it."""

    def __init__(self, fronts: Fronts, number: int) -> None:
        self._fronts, self.number = fronts, number
        self._process: asyncio.subprocess.Process | None = None
        self._transport: asyncio.Transport | None = None
        self._frames = Frames()
        self._tasks = Tasks()
        self._silent = 0

    @property
    def runs(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Of the process; 0 for none."""
        return self._process.pid if self._process is not None and self.runs else 0

    async def run(self) -> int:
        """Start the process and wait for its end; its exit code. Raises OSError."""
        loop = asyncio.get_running_loop()
        trunk, theirs = socket.socketpair()
        channel, given = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fronts = self._fronts
        http = [one.fileno() for one in fronts.http.shares[self.number]]
        dns = [(udp.fileno(), tcp.fileno()) for udp, tcp in fronts.dns.shares[self.number]]
        own = (theirs.fileno(), given.fileno(), fronts.board.fd)
        passed = [*own, *http, *(fd for pair in dns for fd in pair)]
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "mesh.front.worker", *map(str, own)),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=passed,
                start_new_session=True,
            )
        except BaseException:
            trunk.close()
            channel.close()
            raise
        finally:
            theirs.close()
            given.close()
        self._silent, self._frames = 0, Frames()
        for one in (trunk, channel):
            one.setblocking(False)
        await loop.create_connection(lambda: self, sock=trunk)
        loop.add_reader(channel, self._take_sockets, channel)
        setup = msgspec.structs.replace(fronts.setup(), http_sockets=http, dns_sockets=dns)
        self.send(told(Kind.SETUP, setup))
        try:
            return await process.wait()
        finally:
            loop.remove_reader(channel)
            channel.close()
            self.close()
            self.kill()

    def send(self, data: bytes) -> None:
        """Tell it something, if it is there."""
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """Let go of it: it ends."""
        if self._transport is not None:
            self._transport.close()

    def kill(self) -> None:
        """End it now."""
        if self._process is not None and self.runs:
            with suppress(ProcessLookupError):
                self._process.kill()

    def beat(self) -> None:
        """Time passes; end it if it has said nothing for long."""
        if not self.runs:
            return
        self._silent += 1
        if self._silent >= SILENT_BEATS:
            self._silent = 0
            self._fronts.counters["hung"] += 1
            log.warning("worker %d (process %d) hangs and is ended", self.number, self.pid)
            self.kill()

    def _take_sockets(self, channel: socket.socket) -> None:
        try:
            data, handed, _, _ = socket.recv_fds(channel, 1, 1)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, handed = b"", []
        if not data:
            asyncio.get_running_loop().remove_reader(channel)
        for fd in handed:
            os.set_blocking(fd, False)
            _ = self._tasks.start(self._serve(socket.socket(fileno=fd)), name="front link")

    async def _serve(self, theirs: socket.socket) -> None:
        fronts = self._fronts
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: Link(fronts.http, fronts.offers), theirs
        )

    # What it says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002
        """It is gone."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Take what it says."""
        for kind, body in self._frames.feed(data):
            if kind == Kind.ASK:
                ask = msgspec.msgpack.decode(body, type=Ask)
                _ = self._tasks.start(self._answer(ask), name="worker's question")
            elif kind == Kind.REPORT:
                self._silent = 0
                self._fronts.took(msgspec.msgpack.decode(body, type=Report))

    async def _answer(self, ask: Ask) -> None:
        self.send(told(Kind.ANSWER, await self._fronts.answer(ask)))
