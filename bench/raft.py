"""`./dev bench raft`: the log measured at the engine, three voters on loopback, real fdatasync."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from bench.raft_cluster import Cluster, Status, Voter
from bench.raft_tls import make_certificates
from mesh.raft.snapshots import Snapshots, Stored
from mesh.registry import kv
from mesh.server.machine import Machine

TARGETS = {1: 700, 32: 10_000, 256: 25_000}
SYNCS = 500


def sync_times(folder: Path) -> str:
    """How long this disk takes to append 512 bytes durably."""
    times = []
    file = os.open(folder / "probe", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(SYNCS):
        began = time.perf_counter()
        os.write(file, b"x" * 512)
        os.fdatasync(file)
        times.append((time.perf_counter() - began) * 1e3)
    os.close(file)
    times.sort()
    p50, p99, worst = times[SYNCS // 2], times[SYNCS * 99 // 100], times[-1]
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, worst {worst:.2f} ms"


async def writes(cluster: Cluster, seconds: float) -> None:
    """Acknowledged writes and confirmed reads a second."""
    leader = await cluster.leader()
    await leader.ask("write", 32, 0.5)  # To warm up.
    await cluster.stalls()
    for outstanding, target in TARGETS.items():
        found = await leader.ask("write", outstanding, seconds)
        print(
            f"writes, {outstanding:>3} outstanding: {found['rate']:>8,.0f}/s of {target:,} wanted, "
            f"p50 {found['p50']:.2f} ms, p99 {found['p99']:.2f} ms; "
            f"stalls {await cluster.stalls()}",
            flush=True,
        )
    for outstanding in (1, 32):
        found = await leader.ask("read", outstanding, seconds)
        print(
            f"confirmed reads, {outstanding:>2} outstanding: {found['rate']:>8,.0f}/s, "
            f"p50 {found['p50']:.2f} ms, p99 {found['p99']:.2f} ms; "
            f"stalls {await cluster.stalls()}",
            flush=True,
        )


async def starts(folder: Path, certificates: str, rounds: int) -> None:
    """Three processes started together until one of them acknowledged a write."""
    times = []
    for number in range(rounds):
        async with Cluster(folder / f"start-{number}", certificates=certificates) as cluster:
            asked = [voter.ask("first_write", 10.0) for voter in cluster.voters]
            done = min(when for when in await _first(asked) if when)
            times.append(done - cluster.began)
    times.sort()
    listed = ", ".join(f"{each:.2f}" for each in times)
    print(f"start of three until the first acked write (< 2 s wanted): {listed} s", flush=True)


async def _first(asked: list[Coroutine[Any, Any, float]]) -> list[float]:
    tasks = [asyncio.ensure_future(each) for each in asked]
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return [task.result() for task in done]


async def kills(cluster: Cluster, rounds: int) -> None:
    """SIGKILL of a leader under load until the next acknowledged write."""
    times = []
    for _ in range(rounds):
        leader = await cluster.leader()
        others = [voter for voter in cluster.voters if voter is not leader]
        load = asyncio.create_task(leader.ask("write", 32, 60.0))
        await asyncio.sleep(1.0)
        waiting = [voter.ask("first_write", 20.0) for voter in others]
        killed = time.monotonic()
        await leader.kill()
        done = min(when for when in await _first(waiting) if when)
        times.append(done - killed)
        await asyncio.gather(load, return_exceptions=True)
        await leader.start()
        await cluster.caught_up()
    times.sort()
    print(
        f"leader SIGKILL until the next acked write (< 1.2 s wanted), {rounds} kills: "
        f"p50 {times[rounds // 2]:.2f} s, worst {times[-1]:.2f} s",
        flush=True,
    )


async def snapshot(folder: Path, certificates: str, keys: int) -> None:
    """Stalls while every voter makes snapshots of real tables under load."""
    async with Cluster(folder, tables=True, certificates=certificates) as cluster:
        leader = await cluster.leader()
        began = time.monotonic()
        await leader.ask("fill", keys)
        passed = time.monotonic() - began
        print(
            f"tables: {keys:,} keys of 100 bytes written at {keys / passed:,.0f}/s; "
            f"stalls {await cluster.stalls()}",
            flush=True,
        )
        await asyncio.sleep(2.0)  # The last snapshot of the filling.
        await cluster.stalls()
        found = await leader.ask("write", 32, 2.0)
        quiet = await cluster.stalls()
        print(f"tables, no snapshot meanwhile: {found['rate']:,.0f}/s; stalls {quiet}")
        before = (await leader.ask("status"))["counters"]["snapshots_saved"]
        found = await leader.ask("write", 32, 10.0)
        counters = (await leader.ask("status"))["counters"]
        print(
            f"tables, {counters['snapshots_saved'] - before} snapshots meanwhile "
            f"(stalls < 20 ms wanted): {found['rate']:,.0f}/s, p99 {found['p99']:.1f} ms; "
            f"stalls {await cluster.stalls()}",
            flush=True,
        )


def make_state(folder: Path, megabytes: int) -> Stored:
    """A snapshot of real tables that is so large, with values of 1,000 bytes."""
    machine, value = Machine(), b"v" * 1000
    count = megabytes * 1000
    for number in range(count):
        transaction = machine.database.begin(number + 2)
        key = f"bench/{number % 100}/key-{number * 7919 % count:07d}"
        kv.Set(key, value).apply(transaction)
        transaction.commit()
    folder.mkdir(parents=True)
    pieces = (piece for piece in machine.snapshot() if piece)
    return Snapshots(str(folder)).save(count + 1, 1, pieces)


async def join(folder: Path, certificates: str, megabytes: int) -> None:
    """Two voters of a large state; the third has lost its disk and comes back empty."""
    began = time.monotonic()
    stored = make_state(folder / "made", megabytes)
    print(f"state of {stored.size / 1e6:,.0f} MB made in {time.monotonic() - began:.1f} s")
    cluster = Cluster(folder, tables=True, certificates=certificates)
    async with cluster:
        await cluster.leader()
    _lay_down(stored, [voter.settings.directory for voter in cluster.voters])
    try:
        await asyncio.gather(*(voter.start() for voter in cluster.voters[:2]))
        leader = await cluster.leader(cluster.voters[:2])
        status = await leader.ask("status")
        print(
            f"start with that state: read and restored in {status['started_in']:.1f} s", flush=True
        )
        await asyncio.sleep(1.0)
        other = next(voter for voter in cluster.voters[:2] if voter is not leader)
        for voter in (leader, other):
            await voter.ask("stalls")
        await _catch_up(cluster, leader, other, status)
    finally:
        for voter in cluster.voters:
            with contextlib.suppress(AssertionError):
                await voter.kill()


def _lay_down(stored: Stored, folders: list[str]) -> None:
    """Give the first two the state, and take from the third all it has."""
    for folder in folders[:2]:
        place = next(Path(folder).rglob("snapshots"))
        shutil.copy(stored.path, place / stored.path.name)
    shutil.rmtree(folders[2])


async def _catch_up(cluster: Cluster, leader: Voter, other: Voter, before: Status) -> None:
    empty = cluster.voters[2]
    load = asyncio.create_task(leader.ask("write_slowly", 100.0))
    began = time.monotonic()
    await empty.start()
    await empty.ask("bootstrap", cluster.founders)
    while (await empty.ask("status"))["applied"] <= before["applied"]:
        await asyncio.sleep(0.05)
    passed = time.monotonic() - began
    longest = await leader.ask("end_slow_writes")
    await load
    after = await leader.ask("status")
    loops = [(await voter.ask("stalls"))["stall"] for voter in (leader, other, empty)]
    memory = [await voter.ask("memory") for voter in (leader, other, empty)]
    print(
        f"an empty server caught up in {passed:.1f} s; elections meanwhile: "
        f"{after['term'] - before['term']}; slowest write of 100/s {longest * 1e3:.0f} ms; "
        f"stalls of leader / other / new {' / '.join(f'{each:.1f}' for each in loops)} ms; "
        f"memory at most {' / '.join(f'{each:,.0f}' for each in memory)} MB",
        flush=True,
    )


async def run(options: argparse.Namespace) -> None:
    """All phases that were asked for."""
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        folder = Path(name)
        certificates = ""
        if not options.plain:
            certificates = str(folder / "certificates")
            make_certificates(folder / "certificates")
        busy, cores = os.getloadavg()[0], os.cpu_count()
        print(f"before it began, {busy:.1f} processes wanted a core; there are {cores}")
        print(f"fdatasync of 512 bytes: {sync_times(folder)}")
        print(f"transport: {'plain TCP' if options.plain else 'mutual TLS 1.3'}", flush=True)
        phases = options.phases.split(",")
        if "starts" in phases:
            await starts(folder, certificates, 3)
        if "writes" in phases or "kills" in phases:
            async with Cluster(folder / "log", certificates=certificates) as cluster:
                if "writes" in phases:
                    await writes(cluster, options.seconds)
                if "kills" in phases:
                    await kills(cluster, options.kills)
        if "snapshot" in phases:
            await snapshot(folder / "tables", certificates, options.keys)
        if "join" in phases:
            await join(folder / "join", certificates, options.megabytes)


def main(arguments: list[str]) -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(prog="./dev bench raft", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each load")
    parser.add_argument("--kills", type=int, default=5, help="how often the leader is killed")
    parser.add_argument("--keys", type=int, default=200_000, help="keys in the snapshot")
    parser.add_argument("--megabytes", type=int, default=1000, help="state for a new server")
    parser.add_argument("--plain", action="store_true", help="plain TCP instead of mutual TLS")
    parser.add_argument("--directory", default=None, help="where the data goes; a real disk")
    parser.add_argument("--phases", default="starts,writes,kills,snapshot,join")
    asyncio.run(run(parser.parse_args(arguments)))
