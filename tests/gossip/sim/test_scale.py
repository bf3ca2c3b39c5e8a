"""Large pools in virtual time: every death is found by all, nobody else is accused."""

import subprocess
import sys

import pytest

from mesh.gossip.suspicion import shortest
from tests.gossip.sim.scale import Plan, run


def test_a_thousand_members_find_ten_deaths() -> None:
    figures = run(1, Plan(members=1000, kills=10, seconds=30.0, loss=0.01))
    assert figures.false_verdicts == 0
    # The shortest suspicion, and a few seconds until three members have probed it.
    least = shortest(4, 1000, 1.0)
    assert all(least < first for first in figures.first_seconds)
    assert all(seconds < least + 10.0 for seconds in figures.all_seconds)
    # A ping and an ack each second, both ways, and the news.
    assert 4.0 <= figures.packets_per_member <= 12.0


def test_quiet_members_only_ping() -> None:
    figures = run(1, Plan(members=300, seconds=20.0))
    assert 1.9 < figures.packets_per_member < 2.1
    assert figures.events < 300 * 20 * 4.5


SAME = """
from tests.gossip.sim.scale import Plan, run
print(run({}, Plan(members=60, kills=3, seconds=25.0, loss=0.05, held=2)).digest)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_gives_the_same_trace_in_any_process(seed: int) -> None:
    def digest() -> str:
        # Each has other hashes of strings.
        command = [sys.executable, "-c", SAME.format(seed)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout

    assert digest() == digest()


def test_other_seeds_give_other_traces() -> None:
    plan = Plan(members=30, kills=1, seconds=10.0)
    assert run(1, plan).digest != run(2, plan).digest
