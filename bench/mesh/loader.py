"""`python -m bench.mesh.loader PORT CONNECTIONS RATE`: requests at a steady pace.

Says `ready` once every connection had an answer, and goes on until its standard input ends; then
prints what became of each request: connection, when it was sent and answered by the monotonic
clock, and the status, 0 where the connection was refused or cut. `--fresh` opens a connection for
each request; with `--together` all connections ask at the same moment, and then all rest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bench.mesh.stage import HERE

ANSWER_SECONDS = 5.0
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Row(NamedTuple):
    """A request."""

    connection: int
    sent: float
    answered: float
    status: int


class Loader:
    """The process, as others see it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.rows: list[Row] = []
        """What became of each request; there once the load has ended."""

    def end(self) -> None:
        """Stop asking."""
        said, _ = self._process.communicate()
        self.rows = [Row(*one) for one in json.loads(said)]


@contextmanager
def load(port: int, connections: int, rate: float, *more: str) -> Iterator[Loader]:
    """Requests at this port, so many a second, from when it is entered."""
    command = [sys.executable, "-m", __name__, str(port), str(connections), str(rate), *more]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    found = Loader(process)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit("the load did not begin")
        yield found
        found.end()
    finally:
        process.kill()
        process.wait()


class _Connection:
    def __init__(self, port: int, *, fresh: bool) -> None:
        self._port, self._fresh = port, fresh
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> int:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._asked()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            self._close()
            return 0

    async def _asked(self) -> int:
        if self._streams is None:
            self._streams = await asyncio.open_connection(HERE, self._port)
        reader, writer = self._streams
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length or 0))
        if self._fresh:
            self._close()
        return int(head[9:12])

    def _close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def _go_on(number: int, connection: _Connection, period: float, rows: list[Row]) -> None:
    turn = time.monotonic()
    while True:
        sent = time.monotonic()
        status = await connection.ask()
        rows.append(Row(number, sent, time.monotonic(), status))
        turn = max(turn + period, time.monotonic())
        await asyncio.sleep(turn - time.monotonic())


async def _run(options: argparse.Namespace) -> None:
    period = options.connections / options.rate
    rows: list[Row] = []
    tasks = []
    for number in range(options.connections):
        connection = _Connection(options.port, fresh=options.fresh)
        tasks.append(asyncio.create_task(_go_on(number, connection, period, rows)))
        if not options.together:
            await asyncio.sleep(1 / options.rate)
    while len({row.connection for row in rows if row.status == 200}) < options.connections:
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    print(json.dumps(rows))


def main() -> None:
    """Ask until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("connections", type=int)
    parser.add_argument("rate", type=float)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--together", action="store_true")
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
