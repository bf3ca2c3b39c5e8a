"""A snapshot of many keys, saved and restored on a running server: does its event loop stand still?

The server says itself how late its timer came; a client that asks all the time says how long an
answer took at most.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import msgspec

from bench.node import Node, mesh
from mesh.registry.kv import PAIRS, Pair
from mesh.registry.levels import HIGHEST
from mesh.registry.requests import TABLES
from mesh.store.archive import Meta, compressed
from mesh.store.database import Database
from mesh.store.export import Export

KEYS = 1_000_000
QUIET_SECONDS = 61.0
"""The server tells the longest stall of the last minute."""


NOTHING_SECONDS = 10.0
"""A phase in which nothing is done shows what else this machine does."""


class Phase(msgspec.Struct, frozen=True):
    """How one thing went."""

    seconds: float
    stall: float
    """The longest one of the server's event loop, in seconds."""
    answer: float
    """The slowest answer to another client meanwhile, in seconds."""


def archive(path: Path, keys: int) -> int:
    """Write a snapshot of so many keys; its size in bytes."""
    database = Database(TABLES)
    database.contents["kv"].load(
        Pair(key=f"app/{n % 1000}/{n}", value=b"v" * 64, create_index=5, modify_index=5)
        for n in range(keys)
    )
    tables = [database.contents[table.name] for table in (PAIRS,)]
    export = Export(tables, 5, HIGHEST)
    state = b"".join(export)
    meta = Meta(id="bench", level=HIGHEST, size=len(state), digest=export.digest.hex())
    with path.open("wb") as file:
        for data in compressed(meta, [state], sha256(state).hexdigest()):
            file.write(data)
    return path.stat().st_size


@contextmanager
def _asking(node: Node) -> Iterator[list[float]]:
    slowest, stop = [0.0], threading.Event()

    def ask() -> None:
        while not stop.wait(0.005):
            began = time.monotonic()
            node.get("/v1/status/leader")
            slowest[0] = max(slowest[0], time.monotonic() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield slowest
    finally:
        stop.set()
        thread.join()


def _stall(node: Node) -> float:
    (server,) = json.loads(node.get("/v1/operator/raft/status"))["Servers"]
    return float(server["Figures"]["Stall"]["max"])


def _phase(node: Node, work: Callable[[], None]) -> Phase:
    time.sleep(QUIET_SECONDS)
    stalls: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(5.0):
            stalls.append(_stall(node))

    watching = threading.Thread(target=watch)
    watching.start()
    with _asking(node) as slowest:
        began = time.monotonic()
        work()
        seconds = time.monotonic() - began
        time.sleep(5.0)  # What is freed afterwards counts as well.
    stop.set()
    watching.join()
    return Phase(seconds, max([*stalls, _stall(node)]), slowest[0])


def measure(keys: int) -> dict[str, Phase]:
    """Restore a snapshot, save one, and restore it again over what is there."""
    with tempfile.TemporaryDirectory() as folder, mesh() as node:
        path, saved = Path(folder, "many.snap"), Path(folder, "saved.snap")
        archive(path, keys)

        def restore(file: Path) -> None:
            with file.open("rb") as body:
                size = str(file.stat().st_size)
                request = urllib.request.Request(
                    node.url("/v1/snapshot"),
                    data=body,
                    method="PUT",
                    headers={"Content-Length": size},
                )
                with urllib.request.urlopen(request, timeout=900) as response:
                    response.read()

        def save() -> None:
            with urllib.request.urlopen(node.url("/v1/snapshot"), timeout=900) as response:
                saved.write_bytes(response.read())

        found = {"nothing": _phase(node, lambda: time.sleep(NOTHING_SECONDS))}
        found |= {"restore": _phase(node, lambda: restore(path))}
        node.put("/v1/kv/bench/key", b"v" * 64)
        found["save"] = _phase(node, save)
        found["restore over it"] = _phase(node, lambda: restore(saved))
        return found


def rows(keys: int = KEYS) -> list[str]:
    """What `./dev bench registry` shows."""
    return [
        f"{name}, {keys:,} keys: {phase.seconds:.1f} s; longest stall {phase.stall * 1000:.0f} ms, "
        f"slowest answer to another client {phase.answer * 1000:.0f} ms"
        for name, phase in measure(keys).items()
    ]


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="./dev bench restore", description=__doc__)
    parser.add_argument("--keys", type=int, default=KEYS, help="how many keys")
    for line in rows(parser.parse_args(words).keys):
        print(line, flush=True)
