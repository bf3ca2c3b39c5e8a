"""A trial: a real cluster under load and faults, and the judgement of what its clients saw."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tests.cluster.processes import Cluster, Meshd, eventually
from tests.linearizability.clients import ONCE, Client, Recorder
from tests.linearizability.history import Operation, save
from tests.linearizability.models import Anomaly, judge, judge_fences, judge_locks

T = TypeVar("T")
WITNESS = "tests.cluster.witness"


class Load(msgspec.Struct, frozen=True):
    """What the clients do. `pause` is the mean time of a client between two requests, seconds.

    Of the clients of each node one takes locks, one only reads, and the others do all. One more
    takes locks with sessions.
    """

    keys: int = 4
    locks: int = 1
    clients_each: int = 3
    pause: float = 0.02
    seed: int = 1


class Trial:
    """The running clients of a cluster, and what they recorded."""

    def __init__(self, cluster: Cluster, load: Load) -> None:
        self.cluster, self._load = cluster, load
        self.recorder = Recorder()
        self.dice = random.Random(load.seed)
        self._clients: list[Client] = []
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Start clients on every node."""
        keys = [f"lin/{number}" for number in range(self._load.keys)]
        for node in self.cluster.nodes:
            for number in range(self._load.clients_each):
                client = self._client(f"{node.name}-{number}", node)
                dice = random.Random(f"{self._load.seed}-{node.name}-{number}")
                if self._load.locks and number == 0:
                    lock = f"lock/{dice.randrange(self._load.locks)}"
                    work = client.lock(lock, dice, self._load.pause)
                elif number == 1:
                    work = client.look(keys, dice, self._load.pause)
                else:
                    work = client.work(keys, dice, self._load.pause)
                self._tasks.append(asyncio.create_task(work))
            if self._load.locks:
                dice = random.Random(f"{self._load.seed}-{node.name}-holds")
                held = f"held/{dice.randrange(self._load.locks)}"
                holder = self._client(f"{node.name}-holds", node)
                self._tasks.append(asyncio.create_task(holder.hold(held, dice, self._load.pause)))

    def _client(self, name: str, node: Meshd) -> Client:
        client = Client(name, (node.name, node.client_address, node.http), self.recorder)
        self._clients.append(client)
        return client

    async def acknowledged(self, more: int, seconds: float = 40.0) -> None:
        """Wait until so many more writes were acknowledged."""
        wanted = self.recorder.acknowledged + more
        await until(lambda: self.recorder.acknowledged >= wanted, seconds, self._broken)

    def _broken(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    async def leader(self) -> Meshd:
        """The server that says it leads."""
        return await asyncio.to_thread(self.cluster.leader)

    async def other_leader(self, former: Meshd) -> Meshd:
        """The server that leads beside one that is paused or cut off."""
        others = [one for one in self.cluster.servers if one is not former]
        return await asyncio.to_thread(
            lambda: eventually(lambda: next(one for one in others if one.leads()))
        )

    async def finish(self) -> None:
        """Read every key once more at every node, and stop the clients."""
        for ended in await self._cancel():
            if isinstance(ended, Exception):
                raise ended
        keys = sorted({one.key for one in self.recorder.keys})
        for node in self.cluster.nodes:
            client = self._client(f"{node.name}-last", node)
            for key in keys:
                for mode in ("default", "consistent"):
                    while await client.read(key, mode) is None:
                        await asyncio.sleep(0.1)
            self._check_once(node, await client.names(ONCE))

    async def _cancel(self) -> list[Any]:
        for task in self._tasks:
            task.cancel()
        return await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Stop whatever still runs."""
        await self._cancel()
        for client in self._clients:
            client.close()
        await asyncio.sleep(0)  # What was aborted is closed in the next turn.

    def _check_once(self, node: Meshd, found: set[str]) -> None:
        """Nothing acknowledged is missing, nothing said not to be done is there, or done twice."""
        told = self.recorder.once
        assert "refused" not in told.values(), "a key made once was there before: applied twice"
        missing = {key for key, outcome in told.items() if outcome == "done"} - found
        assert not missing, f"{node.name} lost what was acknowledged: {sorted(missing)[:5]}"
        denied = {key for key, outcome in told.items() if outcome == "failed"} & found
        assert not denied, f"{node.name} has what was said not to be done: {sorted(denied)[:5]}"

    def judgement(self, kept: Path | None = None) -> list[Anomaly]:
        """Everything wrong with what was recorded, which is kept in files when there is any."""
        found = judge(self.recorder.keys) + judge_locks(self.recorder.locks)
        found += judge_fences(self.recorder.fences)
        if found and kept is not None:
            save(kept / "keys.jsonl", self.recorder.keys)
            save(kept / "locks.jsonl", self.recorder.locks)
        return found

    def figures(self) -> dict[str, Any]:
        """How much was asked, and how it ended."""
        keys = self.recorder.keys
        by_key = Counter(one.key for one in keys)
        return {
            "operations": len(keys),
            "most for one key": max(by_key.values(), default=0),
            **{f"{kind} {outcome}": n for (kind, outcome), n in sorted(_outcomes(keys).items())},
            "keys made once": Counter(self.recorder.once.values())["done"],
            "locks taken": _outcomes(self.recorder.locks)[("acquire", "done")],
            "of these by sessions": sum(map(len, self.recorder.fences.values())),
        }


def _outcomes(history: Sequence[Operation]) -> Counter[tuple[str, str]]:
    return Counter((one.kind, one.outcome) for one in history)


async def until(
    true: Callable[[], object], seconds: float, check: Callable[[], None] = lambda: None
) -> None:
    """Poll until it is true. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not true():
            check()
            await asyncio.sleep(0.02)


def witness(server: Meshd) -> Path:
    """Where a server tells its digest."""
    return server.folder / "witness.json"


async def same_state(servers: Sequence[Meshd], seconds: float = 60.0) -> tuple[int, str]:
    """Wait until all have applied the same, and assert that they hold the same: index, digest."""
    for server in servers:
        witness(server).unlink(missing_ok=True)
        server.signal(signal.SIGUSR2)
    async with asyncio.timeout(seconds):
        while True:
            await asyncio.sleep(0.1)
            told = [_told(server) for server in servers]
            if None not in told and len({state[0] for state in told if state}) == 1:
                break
            for server, state in zip(servers, told, strict=True):
                if state is not None:
                    witness(server).unlink()
                    server.signal(signal.SIGUSR2)
    states = {server.name: state for server, state in zip(servers, told, strict=True)}
    assert len(set(states.values())) == 1, f"servers differ: {states}"
    assert told[0] is not None
    return told[0]


def _told(server: Meshd) -> tuple[int, str] | None:
    try:
        state = json.loads(witness(server).read_text())
    except FileNotFoundError:
        return None
    return state["index"], state["digest"]


@asynccontextmanager
async def trial(folder: Path, load: Load, make: Callable[[Path], Cluster]) -> AsyncIterator[Trial]:
    """A running trial. Afterwards nothing runs, and nothing was wrong: it asserts that."""
    cluster = make(folder)
    running = Trial(cluster, load)
    try:
        await asyncio.to_thread(cluster.start)
        running.begin()
        yield running
        await running.finish()
        await same_state(cluster.servers)
    except BaseException:
        for node in cluster.nodes:
            print(f"---- {node.name} ----\n{node.log()[-3000:]}")
        raise
    finally:
        await running.close()
        await asyncio.to_thread(cluster.stop)
    found = running.judgement(folder)
    assert not found, f"{found[0].reason}: {found[0].operations[-4:]}; all of it is in {folder}"


def loopback(servers: int, agents: int, **config: Any) -> Callable[[Path], Cluster]:
    """A cluster on loopback addresses, whose servers tell their digests."""

    def make(folder: Path) -> Cluster:
        made = Cluster(folder, servers, agents)
        for server in made.servers:
            server.module = WITNESS
            server.environment["MESH_WITNESS"] = str(witness(server))
            server.config.update(config)
        return made

    return make
