"""The control plane alone: many streams of one process, and a change that all of them hear of.

`python -m bench.mesh.streams COUNT CHANGES IDLE` serves and prints what it measured as JSON; the
streams are in another process (`fakes`). A proxy has five upstreams of twenty instances each; all
of them call the one that changes, and what is counted begins when the agent knows of the change.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from bench.mesh import stage
from mesh.clock import SystemClock
from mesh.connect.xds.blueprint import Blueprint, Endpoint, Inbound, Upstream
from mesh.connect.xds.resources import build
from mesh.connect.xds.server import XdsServer
from mesh.connect.xds.snapshot import CLUSTER, ENDPOINTS, KINDS, Snapshot
from mesh.registry.intentions import Intention, Policy
from tests.connect.xds.signing import Signer

CLOCK = SystemClock()
UPSTREAMS, INSTANCES = 5, 20
IDLE_SECONDS = 6.0
PATIENCE_SECONDS = 120.0
DATACENTER = "dc1"


class Found(msgspec.Struct):
    """What one number of streams came to. Seconds, and megabytes."""

    streams: int
    began: float = 0.0
    """Until all had everything."""
    proxies_megabytes: float = 0.0
    """Of what is known about all proxies, before the first stream."""
    streams_megabytes: float = 0.0
    idle_cpu: float = 0.0
    """Of a second, all streams."""
    builds: list[float] = []
    """For each change, until all was built."""
    lasts: list[float] = []
    """For each change, until the last stream had accepted it."""
    all: list[float] = []
    """For each change and stream, until it had accepted it."""
    cpu: list[float] = []
    """For each change, and each stream."""


def measure(counts: list[int], changes: int, idle: float = IDLE_SECONDS) -> None:
    """Print how soon all streams know of a change, and what streams cost."""
    found = [_measured(count, changes, idle) for count in counts]
    print(f"{'ms from a change of instances':<38}{'streams':>8}{stage.SPREAD}")
    for one in found:
        for title, taken in (
            ("until the last stream accepted it", one.lasts),
            ("until each stream accepted it", one.all),
            ("  of that, building for all", one.builds),
        ):
            print(f"{title:<38}{one.streams:>8}{stage.spread(taken)}", flush=True)
    print(f"{'':<12}{'KB a proxy':>12}{'KB a stream':>12}{'CPU us a push':>15}", end="")
    print(f"{'idle: us/s a stream':>21}{'all began in s':>16}")
    for one in found:
        print(
            f"{one.streams:>4} streams{one.proxies_megabytes / one.streams * 1024:>12.0f}"
            f"{one.streams_megabytes / one.streams * 1024:>12.0f}"
            f"{stage.percentile(one.cpu, 50) * 1e6:>15.0f}"
            f"{one.idle_cpu / one.streams * 1e6:>21.1f}{one.began:>16.1f}",
            flush=True,
        )


def _measured(count: int, changes: int, idle: float) -> Found:
    command = [sys.executable, "-m", __name__, str(count), str(changes), str(idle)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return msgspec.json.decode(done.stdout, type=Found)


# The process that serves.


class _Plane:
    """Serves the streams, and notes when each has accepted a change."""

    def __init__(self, count: int) -> None:
        signer = Signer()
        self.server = XdsServer(CLOCK, heard=self._heard)
        self.blueprints = {
            (name := f"proxy-{number}"): _blueprint(name, number, signer) for number in range(count)
        }
        self.snapshots: dict[str, Snapshot] = {}
        self._waiting: set[str] = set()
        self._accepted: list[float] = []
        self._all = asyncio.Event()
        self._changing = ""

    def build(self) -> None:
        """As the agent does it for all of its proxies that a change is about."""
        for name, blueprint in self.blueprints.items():
            made = self.snapshots[name] = build(blueprint, self.snapshots.get(name))
            self.server.put(name, made)

    async def change(self, found: Found, turn: int) -> None:
        """Take an instance away, or put it back, and wait until all streams know."""
        self._waiting, self._accepted = set(self.blueprints), []
        self._all.clear()
        cpu, began = time.process_time(), time.monotonic()
        for name, blueprint in self.blueprints.items():
            first, *others = blueprint.upstreams
            changed = replace(first, endpoints=_endpoints(0, INSTANCES - turn % 2))
            self.blueprints[name] = replace(blueprint, upstreams=[changed, *others])
        self.build()
        found.builds.append(time.monotonic() - began)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._all.wait()
        found.cpu.append((time.process_time() - cpu) / len(self.blueprints))
        taken = [when - began for when in self._accepted]
        found.lasts.append(max(taken))
        found.all += taken

    def _heard(self, proxy: str) -> None:
        if proxy not in self._waiting:
            return
        (stream,) = self.server.streams(proxy)
        topic, wanted = stream.topics.get(ENDPOINTS), self.snapshots[proxy].of(ENDPOINTS)
        if topic is None or topic.pending is not None:
            return
        name = next(name for name in wanted if name.startswith("upstream-0."))
        held = topic.have.get(name)
        if held is None or held.version != wanted[name].version:
            return
        self._waiting.discard(proxy)
        self._accepted.append(time.monotonic())
        if not self._waiting:
            self._all.set()


def _blueprint(name: str, number: int, signer: Signer) -> Blueprint:
    upstreams = [
        Upstream(
            service=f"upstream-{place}",
            datacenter=DATACENTER,
            protocol="http",
            port=20000 + place,
            endpoints=_endpoints(place, INSTANCES),
        )
        for place in range(UPSTREAMS)
    ]
    intentions = [
        Intention(source=f"caller-{one}", destination=name, action="deny", precedence=9)
        for one in range(3)
    ]
    return Blueprint(
        proxy=name,
        service=name,
        node="node-1",
        datacenter=DATACENTER,
        bundle=signer.bundle(),
        leaf=signer.leaf(name),
        inbound=Inbound(address=stage.HERE, port=30000 + number, protocol="http", local_port=8080),
        upstreams=upstreams,
        policy=Policy(destination=name, intentions=intentions),
    )


def _endpoints(place: int, count: int) -> list[Endpoint]:
    return [Endpoint(f"10.0.{place}.{number + 1}", 8080) for number in range(count)]


def _megabytes() -> float:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def _serve(count: int, changes: int, idle: float) -> Found:
    found = Found(count)
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as folder:
        address = f"unix:{folder}/xds"
        plane = _Plane(count)
        await plane.server.start([address])
        before = _megabytes()
        plane.build()
        known = _megabytes()
        names = {kind: [*plane.snapshots["proxy-0"].of(kind)] for kind in KINDS}
        assert names[CLUSTER], "proxies have upstreams"
        with _fakes(address, count, names):
            began = time.monotonic()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not _settled(plane.server, count):
                    await asyncio.sleep(0.1)
            found.began = time.monotonic() - began
            cpu = time.process_time()
            await asyncio.sleep(idle)
            found.idle_cpu = (time.process_time() - cpu) / idle
            found.proxies_megabytes = known - before
            found.streams_megabytes = _megabytes() - known
            for turn in range(changes):
                await plane.change(found, turn + 1)
        await plane.server.stop()
    return found


@contextmanager
def _fakes(address: str, count: int, names: dict[str, list[str]]) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.mesh.fakes", address, str(count)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        process.stdin.write(f"{json.dumps(names)}\n".encode())
        process.stdin.flush()
        yield
    finally:
        process.kill()
        process.communicate()


def _settled(server: XdsServer, count: int) -> bool:
    known = server.status()
    return len(known) == count and all(one.current and len(one.kinds) == 5 for one in known)


if __name__ == "__main__":
    measured = asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
    print(msgspec.json.encode(measured).decode())
