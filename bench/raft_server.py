"""A Raft voter to measure, in a process of its own: verbs come on stdin, answers go to stdout.

`python -m bench.raft_server SETTINGS`, where SETTINGS is JSON: see `Settings`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec

from bench.raft_tls import credentials, dial_with
from mesh.clock import SeededDice, SystemClock
from mesh.collector import settle
from mesh.errors import MeshError, NoLeader
from mesh.raft.node import RAFT_BYTE, Node, Options, Peer, StateMachine
from mesh.registry import kv
from mesh.registry.envelope import Envelope, seal
from mesh.registry.levels import LOWEST
from mesh.server.machine import Machine

VALUE = b"v" * 100
WATCH_SECONDS = 0.001


class Settings(msgspec.Struct):
    """What the parent wants: which voter this is, where its data lies, which machine it has."""

    me: Peer
    directory: str
    tables: bool = False
    certificates: str = ""


class Counter:
    """The smallest machine: it counts commands."""

    def __init__(self) -> None:
        self.count = 0

    def apply(self, index: int, data: bytes) -> object:
        self.count += 1
        return index

    def snapshot(self) -> Iterator[bytes]:
        return iter([b"%d" % self.count])

    def prepare(self, index: int, pieces: Iterator[bytes]) -> Counted:
        return Counted(self, int(b"".join(pieces)))


class Counted:
    """What a snapshot holds, for `Counter`."""

    def __init__(self, machine: Counter, count: int) -> None:
        self._machine, self._count = machine, count

    def install(self) -> None:
        self._machine.count = self._count

    def discard(self) -> Iterator[None]:
        return iter(())


class Watchdog:
    """Finds the largest delay of the event loop, and of the cycle collector in it."""

    def __init__(self) -> None:
        self.worst = self.collected = 0.0
        self._collecting = 0.0
        gc.callbacks.append(self._collector)

    async def watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(WATCH_SECONDS)
            self.worst = max(self.worst, time.perf_counter() - before - WATCH_SECONDS)

    def _collector(self, phase: str, _: dict[str, int]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._collecting = now
        else:
            self.collected = max(self.collected, now - self._collecting)

    def take(self) -> dict[str, float]:
        """The largest since the last call, in milliseconds."""
        found = {"stall": self.worst * 1e3, "gc": self.collected * 1e3}
        self.worst = self.collected = 0.0
        return found


class Voter:
    """A node that listens, loads itself when told to, and reports."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.machine: StateMachine = Machine() if settings.tables else Counter()
        options = Options(settings.directory)
        self.fatal: list[BaseException] = []
        clock = SystemClock()
        self.node = Node(settings.me, options, self.machine, clock, SeededDice(), self.fatal.append)
        self.watchdog = Watchdog()
        self._numbers = iter(range(1 << 62))

    async def start(self) -> None:
        self.watching = asyncio.create_task(self.watchdog.watch())
        host, _, port = self._settings.me.address.rpartition(":")
        context = None
        if self._settings.certificates:
            shown = credentials(self._settings.certificates, self._settings.me.name)
            context = shown.listening
            dial_with(self.node, shown)
        began = time.perf_counter()
        await self.node.start()
        self.started_in = time.perf_counter() - began
        await asyncio.start_server(self._accept, host, int(port), ssl=context)
        settle()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.read(1) == RAFT_BYTE:
                await self.node.serve(reader, writer)
        finally:
            writer.close()

    def memory(self) -> float:
        """The most memory this process ever had, in megabytes."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def bootstrap(self, peers: list[dict[str, str]]) -> None:
        self.node.bootstrap([Peer(**peer) for peer in peers])

    def status(self) -> dict[str, object]:
        node = self.node
        return {
            "leads": node.leased(),
            "term": node.term,
            "applied": node.applied_index,
            "fatal": repr(self.fatal) if self.fatal else "",
            "started_in": self.started_in,
            "counters": node.counters,
        }

    def stalls(self) -> dict[str, float]:
        return self.watchdog.take()

    def command(self) -> bytes:
        number = next(self._numbers)
        if not self._settings.tables:
            return VALUE
        command = kv.Set(f"bench/{number % 100}/key-{number * 7919 % 200_000:06d}", VALUE)
        return seal(Envelope(LOWEST, f"request-{number}", time.time(), "", "bench", command))

    async def fill(self, count: int) -> None:
        """Write this many keys."""
        left = iter(range(count))

        async def client() -> None:
            for _ in left:
                command = self.command()
                while not await self._proposed(command):
                    await asyncio.sleep(0.05)

        await asyncio.gather(*(client() for _ in range(256)))

    async def _proposed(self, command: bytes) -> bool:
        try:
            await self.node.propose(command)
        except NoLeader:
            raise  # It leads no more: nothing is measured then.
        except MeshError:
            return False
        return True

    async def write(self, outstanding: int, seconds: float) -> dict[str, float]:
        """Acknowledged writes with so many outstanding."""

        async def one() -> None:
            await self.node.propose(self.command())

        return await self._load(one, outstanding, seconds)

    async def write_slowly(self, rate: float) -> None:
        """Write so often a second until `end_slow_writes`."""
        self._slow, self._slowest = True, 0.0
        while self._slow:
            began = time.perf_counter()
            await self.node.propose(self.command())
            self._slowest = max(self._slowest, time.perf_counter() - began)
            await asyncio.sleep(1 / rate)

    def end_slow_writes(self) -> float:
        """How many seconds the slowest of them took."""
        self._slow = False
        return self._slowest

    async def read(self, outstanding: int, seconds: float) -> dict[str, float]:
        """Confirmed reads with so many outstanding."""
        return await self._load(self.node.barrier, outstanding, seconds)

    async def first_write(self, seconds: float) -> float:
        """When a write through this voter was acknowledged first, by the monotonic clock."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                await self.node.propose(self.command())
                return time.monotonic()
            except MeshError:
                await asyncio.sleep(0.002)
        return 0.0

    async def _load(
        self, work: Callable[[], Awaitable[None]], outstanding: int, seconds: float
    ) -> dict[str, float]:
        times: list[float] = []
        began = time.perf_counter()
        until = began + seconds

        async def client() -> None:
            now = time.perf_counter()
            while now < until:
                await work()
                before, now = now, time.perf_counter()
                times.append(now - before)

        await asyncio.gather(*(client() for _ in range(outstanding)))
        passed = time.perf_counter() - began
        times.sort()
        last = len(times) - 1
        return {
            "rate": len(times) / passed,
            "p50": times[last // 2] * 1e3,
            "p99": times[last * 99 // 100] * 1e3,
        }


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


async def main() -> None:
    """Answer what the parent asks until it closes stdin."""
    voter = Voter(msgspec.json.decode(sys.argv[1], type=Settings))
    await voter.start()
    _say([0, True, None])
    reader = await _lines()
    running: set[asyncio.Task[None]] = set()

    async def answer(number: int, verb: str, arguments: list[Any]) -> None:
        try:
            result = getattr(voter, verb)(*arguments)
            _say([number, True, await result if asyncio.iscoroutine(result) else result])
        except Exception as error:  # noqa: BLE001  (the parent ends with it)
            _say([number, False, repr(error)])

    while line := await reader.readline():
        task = asyncio.create_task(answer(*json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
