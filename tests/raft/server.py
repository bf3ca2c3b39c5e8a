"""A Raft server in a process of its own, for tests that kill it: `python -m tests.raft.server`."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator

from mesh.clock import SeededDice, SystemClock
from mesh.errors import MeshError
from mesh.raft.node import RAFT_BYTE, Node, Options, Peer


class Memory:
    """A machine that remembers every command, in order."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    def apply(self, index: int, data: bytes) -> object:
        self.commands.append(data)
        return len(self.commands)

    def snapshot(self) -> Iterator[bytes]:
        copy = list(self.commands)
        return (command + b"\n" for command in copy)

    def prepare(self, index: int, pieces: Iterator[bytes]) -> "Remembered":
        return Remembered(self, [piece[:-1] for piece in pieces])


class Remembered:
    """What a snapshot holds, for `Memory`."""

    def __init__(self, machine: Memory, commands: list[bytes]) -> None:
        self._machine, self._commands = machine, commands

    def install(self) -> None:
        self._machine.commands, self._commands = self._commands, self._machine.commands

    def discard(self) -> Iterator[None]:
        self._commands.clear()
        yield


class Server:
    """A node that listens, and answers `C` connections for the test beside Raft's."""

    def __init__(self, me: Peer, options: Options) -> None:
        self.machine = Memory()
        self.fatal: list[BaseException] = []
        self.me = me
        self.node = Node(me, options, self.machine, SystemClock(), SeededDice(), self.fatal.append)
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        """Start and listen; the port."""
        await self.node.start()
        host, _, port = self.me.address.rpartition(":")
        self._listener = await asyncio.start_server(self._accept, host, int(port))
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await self.node.stop()
        for writer in list(self._writers):
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            first = await reader.read(1)
            if first == RAFT_BYTE:
                await self.node.serve(reader, writer)
            elif first == b"C":
                await self._control(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running: set[asyncio.Task[None]] = set()
        while line := await reader.readline():
            number, verb, argument = json.loads(line)
            task = asyncio.create_task(self._answer(writer, number, verb, argument))
            running.add(task)
            task.add_done_callback(running.discard)

    async def _answer(
        self, writer: asyncio.StreamWriter, number: int, verb: str, argument: str
    ) -> None:
        node = self.node
        try:
            answer: object = None
            if verb == "propose":
                answer = (await node.propose(argument.encode()))[0]
            elif verb == "barrier":
                await node.barrier()
            elif verb == "status":
                answer = node.status() | {"leads": node.is_leader, "counters": node.counters}
                answer |= {"fatal": repr(self.fatal), "last_contact": None}
            elif verb == "commands":
                answer = [command.decode() for command in self.machine.commands]
            elif verb == "bootstrap":
                node.bootstrap([Peer(**peer) for peer in json.loads(argument)])
            reply: list[object] = [number, "", answer]
        except MeshError as error:
            reply = [number, error.code, error.message]
        if not writer.is_closing():
            writer.write(json.dumps(reply).encode() + b"\n")


async def main() -> None:
    """Arguments: identity, port, directory, snapshot threshold, shortest election in seconds."""
    name, port, directory, threshold, shortest = sys.argv[1:6]
    options = Options(
        directory,
        election_seconds=(float(shortest), 2 * float(shortest)),
        heartbeat_seconds=float(shortest) / 5,
        snapshot_threshold=int(threshold),
    )
    server = Server(Peer(name, name, f"127.0.0.1:{port}"), options)
    print(await server.start(), flush=True)
    parent = os.getppid()
    while True:
        await asyncio.sleep(0.2)
        if os.getppid() != parent or server.fatal:
            sys.exit(f"ends: {server.fatal}")


if __name__ == "__main__":
    asyncio.run(main())
