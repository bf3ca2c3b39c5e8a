"""Random faults over many seeds: the checkers hold. More by hand: `python -m tests.gossip.sim`."""

import pytest

from tests.gossip.sim.runs import CONFIGURATIONS, run

SHARDS, SEEDS = 4, 22
"""Six configurations, four shards of each, 22 seeds in each: 528 runs."""


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_nothing_is_violated(name: str, shard: int) -> None:
    for seed in range(shard * SEEDS, (shard + 1) * SEEDS):
        figures = run(seed, CONFIGURATIONS[name])
        again = f"./dev run python -m tests.gossip.sim --seeds 1 --seed {seed} "
        assert not figures.violation, f"{figures.detail}\n{again}--configuration {name}"


def test_the_runs_are_eventful() -> None:
    """A run in which nothing happens holds every rule."""
    figures = [run(seed, CONFIGURATIONS["rough"]) for seed in range(3)]
    assert all(one.verdicts and one.refutations and one.delivered for one in figures)
    assert all(one.events > 2000 for one in figures)


def test_the_same_seed_gives_the_same_run() -> None:
    first, again, other = (run(seed, CONFIGURATIONS["faults"]) for seed in (5, 5, 6))
    assert first == again
    assert first.digest != other.digest
