"""Random faults: nothing acknowledged is lost, nothing read is stale, and it all heals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.sim.runs import CONFIGURATIONS, run

TOP = Path(__file__).parent.parent.parent


SEEDS = dict.fromkeys(CONFIGURATIONS, 6) | {"three": 18, "three-compact": 18}
SEEDS |= {"five": 12, "five-compact": 12, "changing": 18, "changing-compact": 18}


@pytest.mark.parametrize(
    ("name", "first"),
    [(name, first) for name, seeds in SEEDS.items() for first in range(0, seeds, 6)],
)
def test_faults_break_no_rule(name: str, first: int) -> None:
    configuration = msgspec.structs.replace(CONFIGURATIONS[name], fault_seconds=4.0)
    for seed in range(first, first + 6):
        figures = run(seed, configuration)
        assert not figures.violation, f"seed {seed} in {name}: {figures.detail}"
        assert figures.acknowledged


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1300, 20))
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_faults_break_no_rule_in_many_worlds(name: str, first: int) -> None:
    for seed in range(first, first + 20):
        figures = run(seed, CONFIGURATIONS[name])
        assert not figures.violation, f"seed {seed} in {name}: {figures.detail}"


def test_a_seed_decides_all_that_happens() -> None:
    code = (
        "from tests.sim.runs import CONFIGURATIONS, run\n"
        "one = run(5, CONFIGURATIONS['three-compact'])\n"
        "print(one.events, one.digest, one.acknowledged)"
    )
    histories = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=TOP,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    here = run(5, CONFIGURATIONS["three-compact"])
    assert histories == {f"{here.events} {here.digest} {here.acknowledged}\n"}
    assert run(6, CONFIGURATIONS["three-compact"]).digest != here.digest
