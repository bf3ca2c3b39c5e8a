"""A worker: a process that takes clients of HTTP and DNS beside the main one.

It gets its sockets, the board and two streams to the main process when it starts, and ends when
that does. Signals to end are for the main process, which has it finish what is under way.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections import Counter, deque

import msgspec

from mesh.clock import SystemClock
from mesh.dns.edge import DnsEdge
from mesh.dns.options import Options
from mesh.errors import Invalid
from mesh.front.asking import Asking
from mesh.front.board import Board
from mesh.front.client import Fronting
from mesh.front.frames import Frames, Kind, Report, Setup, told
from mesh.front.keep import Deadline, Messages, Responses
from mesh.http.access import AccessLog
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.5


class Worker(asyncio.Protocol):
    """One worker, on its stream to the main process. `channel` takes sockets there."""

    def __init__(self, board: Board, channel: socket.socket) -> None:
        clock, deadline = SystemClock(), Deadline(board, SystemClock())
        self._clock = clock
        self._frames = Frames()
        self._channel, self._unsent = channel, deque[socket.socket]()
        self._fronting = Fronting(Responses(deadline), clock, self._hand_over)
        self._asking = Asking(Messages(deadline), self._send)
        self._dns: DnsEdge | None = None
        self._transport: asyncio.Transport | None = None
        self._lost: Counter[str] = Counter()
        self._tasks = Tasks(lambda _: self.ended.set())
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The main process says next what to do."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what the main process says."""
        for kind, body in self._frames.feed(data):
            if kind == Kind.ANSWER:
                self._asking.answered(body)
            elif kind == Kind.SETUP:
                self._set_up(msgspec.msgpack.decode(body, type=Setup))
            elif kind == Kind.HALT:
                self._fronting.halt()

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002
        """The main process is gone."""
        self._transport = None
        self.ended.set()

    def _set_up(self, setup: Setup) -> None:
        options = msgspec.msgpack.decode(setup.dns, type=Options)
        self._fronting.idle_seconds = setup.idle_seconds
        logging.getLogger("mesh").setLevel(setup.log_level)
        self._open_access_log(setup.access_log)
        if self._dns is not None:
            self._dns.reload(options)
            return
        self._dns = DnsEdge(self._asking, options, self._clock)
        _ = self._tasks.start(self._start(self._dns, setup), name="worker", fatal=True)

    def _open_access_log(self, path: str) -> None:
        """Write to this file from now on; opened anew, as it may have been moved away."""
        responses = self._fronting.responses
        before, responses.access = responses.access, None
        if before is not None:
            before.close()
        if path:
            try:
                responses.access = AccessLog(path, self._clock, self._lost)
            except Invalid as error:
                log.error("%s", error)  # noqa: TRY400 - no traceback for people.

    async def _start(self, dns: DnsEdge, setup: Setup) -> None:
        listeners = [socket.socket(fileno=fd) for fd in setup.http_sockets]
        await self._fronting.start(listeners)
        pairs = [
            (socket.socket(fileno=udp), socket.socket(fileno=tcp)) for udp, tcp in setup.dns_sockets
        ]
        if pairs:
            await dns.start(pairs)
        while True:
            self._report()
            await self._clock.sleep(REPORT_SECONDS)

    def _report(self) -> None:
        responses = self._fronting.responses
        took, responses.took = responses.took, {}
        lost = self._lost["access_lost"]
        self._lost.clear()
        self._send(told(Kind.REPORT, Report(took, self._asking.taken(), lost)))

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _hand_over(self, theirs: socket.socket) -> None:
        """Give the main process a socket, and forget it here."""
        self._unsent.append(theirs)
        if len(self._unsent) == 1:
            self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._unsent:
            try:
                socket.send_fds(self._channel, [b"\0"], [self._unsent[0].fileno()])
            except (BlockingIOError, InterruptedError):
                loop.add_writer(self._channel, self._flush)
                return
            except OSError:
                self.ended.set()
                return
            self._unsent.popleft().close()
        loop.remove_writer(self._channel)


async def _run(trunk: int, channel: int, board: int) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: None)
    handing = socket.socket(fileno=channel)
    handing.setblocking(False)
    worker = Worker(Board(board), handing)
    stream = socket.socket(fileno=trunk)
    stream.setblocking(False)
    await loop.create_connection(lambda: worker, sock=stream)
    gc.freeze()
    await worker.ended.wait()


def main(arguments: list[str]) -> int:
    """Run with the file descriptors of stream, channel and board."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s worker: %(message)s")
    asyncio.run(_run(*map(int, arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
