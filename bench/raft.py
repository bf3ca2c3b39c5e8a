"""`./dev bench raft`: the log measured at the engine, three voters on loopback, real fdatasync."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from bench.raft_cluster import Cluster
from bench.raft_tls import make_certificates

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


async def run(options: argparse.Namespace) -> None:
    """All phases that were asked for."""
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        folder = Path(name)
        certificates = ""
        if options.tls:
            certificates = str(folder / "certificates")
            make_certificates(folder / "certificates")
        print(f"fdatasync of 512 bytes: {sync_times(folder)}")
        print(f"transport: {'TLS 1.3' if options.tls else 'plain TCP'}", flush=True)
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


def main(arguments: list[str]) -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(prog="./dev bench raft", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each load")
    parser.add_argument("--kills", type=int, default=5, help="how often the leader is killed")
    parser.add_argument("--keys", type=int, default=200_000, help="keys in the snapshot")
    parser.add_argument("--tls", action="store_true", help="mutual TLS between the voters")
    parser.add_argument("--directory", default=None, help="where the data goes; a real disk")
    parser.add_argument("--phases", default="starts,writes,kills,snapshot,join")
    asyncio.run(run(parser.parse_args(arguments)))
