"""Whole runs: faults and load for some seconds, then health, then the reckoning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec
import pytest

from mesh.clock import SeededDice
from mesh.raft import engine, progress
from tests.sim.checks import Violation
from tests.sim.clients import Client
from tests.sim.faults import change_voters, disturb, drift
from tests.sim.world import Setting, World, world

HEALTH_SECONDS = 6.0


class Configuration(msgspec.Struct, frozen=True):
    """How many voters, whether they compact, and for how long there are faults."""

    voters: int = 3
    threshold: int = 1 << 60
    learners: int = 0
    fault_seconds: float = 12.0
    clients: int = 6
    think_seconds: float = 0.04
    fault_every_seconds: tuple[float, ...] = (0.3, 0.8, 1.5)  # One of them by chance.
    rates: tuple[float, ...] = ()
    drift: bool = False  # Whether clocks change their rates, within the same bounds.


CONFIGURATIONS = {
    "one": Configuration(1, 30),
    "two": Configuration(2, 30),
    "three": Configuration(3),
    "three-compact": Configuration(3, 30),
    "three-fast-clock": Configuration(3, 30, rates=(2.0,)),
    "three-drift": Configuration(3, drift=True),
    "three-rough": Configuration(
        3, 20, fault_seconds=6.0, clients=8, think_seconds=0.02, fault_every_seconds=(0.15,)
    ),
    "five": Configuration(5),
    "five-compact": Configuration(5, 30),
    "changing": Configuration(1, learners=3),
    "changing-compact": Configuration(3, 30, learners=2),
    "changing-rough": Configuration(
        3,
        learners=2,
        fault_seconds=6.0,
        clients=8,
        think_seconds=0.02,
        fault_every_seconds=(0.15,),
    ),
}


class Figures(msgspec.Struct):
    """What happened in one run."""

    seed: int
    events: int = 0
    digest: int = 0
    acknowledged: int = 0
    refused: int = 0
    barrier_reads: int = 0
    lease_reads: int = 0
    elections: int = 0
    epochs: int = 0
    installs: int = 0
    snapshots: int = 0
    damaged_snapshots: int = 0
    torn: int = 0
    failed_disks: int = 0
    violation: str = ""
    detail: str = ""


def run(seed: int, configuration: Configuration) -> Figures:
    """One world from start to end. A violation is in the figures, with its seed."""
    figures = Figures(seed)
    dice = SeededDice(seed)
    mean = dice.choice([0.002, 0.002, 0.01, 0.05])
    rates = configuration.rates
    learners, threshold = configuration.learners, configuration.threshold
    setting = Setting(configuration.voters, threshold, mean, rates=rates, learners=learners)
    with sizes(small=bool(dice.below(2))), world(seed, setting) as made:
        try:
            _live(made, configuration)
        except Violation as violation:
            figures.violation, figures.detail = violation.rule, str(violation)
        except Exception as error:  # noqa: BLE001  (whatever ends a server is a finding)
            figures.violation, figures.detail = type(error).__name__, str(error)
        _count(made, figures)
    return figures


def _live(made: World, configuration: Configuration) -> None:
    clients = [
        Client(made, f"c{number}", configuration.think_seconds)
        for number in range(configuration.clients)
    ]
    for client in clients:
        client.begin()
    made.run(1.5)
    end = made.timeline.now + configuration.fault_seconds
    every = made.dice.choice(configuration.fault_every_seconds)
    while made.timeline.now < end:
        made.run(made.dice.uniform(0.0, 2 * every))
        if configuration.learners and made.dice.below(2):
            change_voters(made)
        else:
            disturb(made)
        if configuration.drift:
            drift(made)
    made.run(2.0)  # Some of the last faults end by themselves.
    heal_and_judge(made, clients)


def heal_and_judge(made: World, clients: list[Client]) -> None:
    """After some seconds of health there is a leader, writes proceed, everyone is caught up."""
    made.heal()
    made.run(HEALTH_SECONDS - 1.5)
    before = len(made.checks.acknowledged)
    made.run(1.5)
    if made.leader is None:
        raise Violation("no leader after healing", "")
    if clients and len(made.checks.acknowledged) == before:
        raise Violation("no writes after healing", "")
    for client in clients:
        client.stopped = True
    made.run(3.0 if made.setting.learners else 1.0)  # A learner may need a snapshot still.
    made.checks.look_at_end(made.servers.values())
    if sum(client.unanswered for client in clients):
        raise Violation("answers", "an operation was never answered")


@contextlib.contextmanager
def sizes(*, small: bool) -> Iterator[None]:
    """With small sizes there are many messages instead of a few large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "CHUNK_BYTES", 100)
        if small:
            patch.setattr(progress, "BATCH_BYTES", 60)
            patch.setattr(engine, "APPLY_MAX", 3)
        yield


def _count(made: World, figures: Figures) -> None:
    checks, servers, disks = made.checks, made.servers.values(), made.disks.values()
    figures.events, figures.digest = made.timeline.events, made.timeline.digest
    figures.acknowledged, figures.refused = len(checks.acknowledged), checks.refused
    figures.barrier_reads, figures.lease_reads = checks.reads["barrier"], checks.reads["lease"]
    figures.elections = len(checks.leaders)
    figures.epochs = len(checks.epochs) + 1
    figures.installs = sum(server.installs for server in servers)
    figures.snapshots = sum(server.saves for server in servers)
    figures.damaged_snapshots = sum(server.damaged_arrivals for server in servers)
    figures.failed_disks = sum(server.failed_disks for server in servers)
    figures.torn = sum(disk.torn + disk.flipped for disk in disks)
