"""Trials by hand: `./dev run python -m tests.linearizability --kills 50 --seconds 300`."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.linearizability.faults import (
    FAULTS,
    deafen_leader,
    kill_leader,
    kill_leader_at_once,
    partition_any,
    partition_leader,
)
from tests.linearizability.network import network, spread, why_not
from tests.linearizability.trial import Load, Trial, loopback, trial
from tests.powerloss.outage import kill_then_cut, outage, powered

Fault = Callable[[Trial], Awaitable[Any]]


def arguments() -> argparse.Namespace:
    """What to do."""
    parser = argparse.ArgumentParser(prog="tests.linearizability", description=__doc__)
    kinds = ["processes", "partitions", "power"]
    parser.add_argument("--kills", type=int, default=0, help="leaders to SIGKILL")
    parser.add_argument("--seconds", type=float, default=60.0, help="then random faults so long")
    parser.add_argument("--faults", choices=kinds, default="processes")
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--clients", type=int, default=4, help="on each node")
    parser.add_argument("--keys", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.02, help="of a client, mean, seconds")
    parser.add_argument("--snapshots", type=int, default=400, help="entries between snapshots")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, help="folder for logs and histories")
    return parser.parse_args()


def world(
    asked: argparse.Namespace, stack: ExitStack
) -> tuple[Callable[[Path], Any], dict[str, Fault]]:
    """How to make the cluster, and what to do to it."""
    config = {"raft_snapshot_threshold": asked.snapshots, "raft_snapshot_interval": "0s"}
    if asked.faults == "partitions":
        if problem := why_not():
            raise SystemExit(f"no partitions here: {problem}")
        net = stack.enter_context(network(asked.servers))
        faults: dict[str, Fault] = {
            "partition-leader": lambda running: partition_leader(running, net, 4.0),
            "partition-any": lambda running: partition_any(running, net, 2.0),
            "deafen-leader": lambda running: deafen_leader(running, net, 3.0),
            "kill-leader": kill_leader,
        }
        return spread(net, asked.servers, **config), faults
    if asked.faults == "power":
        counts = range(1, asked.servers + 1)
        faults = {
            f"outage-of-{count}": lambda running, count=count: outage(running, count)  # type: ignore[misc]
            for count in counts
        }
        faults["kill-all-then-outage"] = kill_then_cut
        return powered(asked.servers, 0, **config), faults
    return loopback(asked.servers, asked.agents, **config), dict(FAULTS)


async def run(asked: argparse.Namespace, folder: Path) -> None:
    """One trial, and its figures."""
    load = Load(asked.keys, 2, asked.clients, asked.pause, asked.seed)
    print(f"seed {asked.seed}, everything is kept in {folder} if something is wrong", flush=True)
    done: Counter[str] = Counter()
    began = time.monotonic()
    with ExitStack() as stack:
        make, faults = world(asked, stack)
        async with trial(folder / "trial", load, make) as running:
            for number in range(asked.kills):
                await (kill_leader_at_once if number % 4 else kill_leader)(running)
                done["leader kills"] += 1
            until = time.monotonic() + asked.seconds
            while time.monotonic() < until:
                name = running.dice.choice(sorted(faults))
                await faults[name](running)
                done[name] += 1
    seconds = time.monotonic() - began
    print(f"no anomaly, all states equal; {seconds:.0f} s with the judgement")
    for name, count in (*sorted(done.items()), *running.figures().items()):
        print(f"  {name}: {count}")


def main() -> None:
    """Run it in a folder that goes away when nothing was wrong."""
    asked = arguments()
    if asked.keep is not None:
        asyncio.run(run(asked, asked.keep))
        return
    folder = Path(tempfile.mkdtemp(prefix="mesh-trial-"))
    asyncio.run(run(asked, folder))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
