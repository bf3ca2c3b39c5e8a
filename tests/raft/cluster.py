"""Raft servers in processes of their own, and how a test talks to them and kills them."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mesh.errors import MeshError, Unreachable, from_code
from mesh.raft.node import Peer

TOP = Path(__file__).parents[2]


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 60.0) -> Any:
    """Poll until it gives something true, which is returned."""
    async with asyncio.timeout(seconds):
        while True:
            if found := await condition():
                return found
            await asyncio.sleep(0.02)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Process:
    """One server process with a control connection. A dead one answers with Unreachable."""

    def __init__(self, me: Peer, directory: Path, threshold: int, shortest: float) -> None:
        self.me = me
        self._arguments = [me.id, me.address.rpartition(":")[2], str(directory)]
        self._arguments += [str(threshold), str(shortest)]
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._number = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, module: Sequence[str] = ("tests.raft.server",)) -> None:
        """Start it, as another module than usual if that is given, with arguments of its own."""
        command = [sys.executable, "-m", *module, *self._arguments]
        self._process = await asyncio.create_subprocess_exec(
            *command, cwd=TOP, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        port = await self._process.stdout.readline()
        reader, self._writer = await asyncio.open_connection("127.0.0.1", int(port), limit=1 << 28)
        self._writer.write(b"C")
        self._reading = asyncio.create_task(self._read(reader))

    async def kill(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        if self._reading is not None:
            await self._reading

    async def ask(self, verb: str, argument: str = "", seconds: float = 15.0) -> Any:
        if self._reading is None or self._reading.done() or self._writer is None:
            raise Unreachable("is not running")
        self._number += 1
        future = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = future
        self._writer.write(json.dumps([self._number, verb, argument]).encode() + b"\n")
        async with asyncio.timeout(seconds):
            return await future

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                number, code, answer = json.loads(line)
                future = self._waiting.pop(number)
                if future.done():
                    continue
                if code:
                    future.set_exception(from_code(code, answer))
                else:
                    future.set_result(answer)
        except ConnectionError:
            pass
        assert self._writer is not None
        self._writer.close()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Unreachable("died"))
                future.exception()
        self._waiting.clear()


class Cluster:
    """Three servers, or as many as wanted."""

    def __init__(
        self, top: Path, count: int = 3, *, threshold: int = 16384, shortest: float = 0.25
    ) -> None:
        ports = free_ports(count)
        self.peers = [Peer(f"node-{n}", f"node-{n}", f"127.0.0.1:{p}") for n, p in enumerate(ports)]
        self.servers = [Process(peer, top / peer.id, threshold, shortest) for peer in self.peers]

    async def __aenter__(self) -> "Cluster":
        await asyncio.gather(*(server.start() for server in self.servers))
        founders = json.dumps([msgspec.to_builtins(peer) for peer in self.peers])
        for server in self.servers:
            await server.ask("bootstrap", founders)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self.servers:
            await server.kill()

    async def leader(self) -> Process:
        found: Process = await until(self._find_leader)
        return found

    async def _find_leader(self) -> Process | None:
        for server in self.servers:
            try:
                if (await server.ask("status", seconds=2))["leased"]:
                    return server
            except (MeshError, TimeoutError):
                continue
        return None

    async def settled(self) -> list[str]:
        """Once every server has applied the same: all commands in order."""

        async def same() -> list[list[str]] | None:
            status = [await server.ask("status") for server in self.servers]
            if len({each["applied_index"] for each in status}) > 1:
                return None
            commands = [await server.ask("commands") for server in self.servers]
            return commands if all(each == commands[0] for each in commands) else None

        found = await until(same)
        commands: list[str] = found[0]
        return commands


class Load:
    """Writes numbered commands through whoever leads, and remembers which were acknowledged."""

    def __init__(self, cluster: Cluster, size: int = 10) -> None:
        self._cluster, self._size = cluster, size
        self._next = 0
        self.acknowledged: list[str] = []
        self.running = True

    async def client(self) -> None:
        leader = await self._cluster.leader()
        while self.running:
            self._next += 1
            command = f"{self._next}".ljust(self._size, ".")
            try:
                await leader.ask("propose", command)
                self.acknowledged.append(command)
            except (MeshError, TimeoutError):
                leader = await self._cluster.leader()

    async def reach(self, count: int) -> None:
        """Wait until this many more are acknowledged."""
        wanted = len(self.acknowledged) + count

        async def enough() -> bool:
            return len(self.acknowledged) >= wanted

        await until(enough, 20.0)
