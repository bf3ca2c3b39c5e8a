"""Three voters to measure, each a process on loopback, and how the benchmark talks to them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.node import free_ports
from bench.raft_server import Settings
from bench.raft_tls import VOTERS
from mesh.raft.node import Peer

TOP = Path(__file__).parent.parent
WAIT_SECONDS = 300.0
Status = dict[str, Any]


class Voter:
    """One process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._number = 0

    @property
    def name(self) -> str:
        return self.settings.me.name

    async def start(self) -> None:
        settings = msgspec.json.encode(self.settings).decode()
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.raft_server", settings, cwd=TOP, stdin=pipe, stdout=pipe
        )
        ready = self._waiting[0] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())
        await ready

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            number, fine, answer = json.loads(line)
            future = self._waiting.pop(number)
            if future.done():
                continue
            if fine:
                future.set_result(answer)
            else:
                future.set_exception(RuntimeError(answer))
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(RuntimeError(f"{self.name} ended"))
        self._waiting.clear()

    async def ask(self, verb: str, *arguments: object) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        self._number += 1
        future = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        line = json.dumps([self._number, verb, arguments])
        self._process.stdin.write(line.encode() + b"\n")
        async with asyncio.timeout(WAIT_SECONDS):
            return await future

    async def kill(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        await self._reading


class Cluster:
    """The voters, and who leads them."""

    def __init__(self, folder: Path, *, tables: bool = False, certificates: str = "") -> None:
        ports = free_ports(3)
        self.peers = [
            Peer(f"n{n}", name, f"127.0.0.1:{port}")
            for n, (name, port) in enumerate(zip(VOTERS, ports, strict=True))
        ]
        self.founders = [msgspec.to_builtins(peer) for peer in self.peers]
        self.voters = [
            Voter(Settings(peer, str(folder / peer.id), tables, certificates))
            for peer in self.peers
        ]

    async def __aenter__(self) -> Cluster:
        self.began = time.monotonic()
        await asyncio.gather(*(voter.start() for voter in self.voters))
        await self.bootstrap()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(voter.kill() for voter in self.voters))

    async def bootstrap(self) -> None:
        await asyncio.gather(*(voter.ask("bootstrap", self.founders) for voter in self.voters))

    async def leader(self, among: Sequence[Voter] = ()) -> Voter:
        """Who leads, once somebody does."""
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            for voter in among or self.voters:
                status = await voter.ask("status")
                if status["fatal"]:
                    raise SystemExit(f"{voter.name} ended: {status['fatal']}")
                if status["leads"]:
                    return voter
            await asyncio.sleep(0.005)
        raise SystemExit(f"no leader after {WAIT_SECONDS:.0f} s")

    async def stalls(self) -> str:
        """The largest delay of each voter's loop since the last call, leader first."""
        leader = await self.leader()
        others = [voter for voter in self.voters if voter is not leader]
        found = [await voter.ask("stalls") for voter in (leader, *others)]
        loops = " / ".join(f"{each['stall']:.1f}" for each in found)
        return f"{loops} ms (gc {max(each['gc'] for each in found):.1f})"

    async def caught_up(self) -> None:
        """Wait until all have applied the same."""
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            indexes = {(await voter.ask("status"))["applied"] for voter in self.voters}
            if len(indexes) == 1:
                return
            await asyncio.sleep(0.02)
        raise SystemExit("the voters do not become equal")
