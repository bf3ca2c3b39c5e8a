"""Runs many seeds: `./dev run python -m tests.gossip.sim --seeds 1000 --configuration splits`.

One that failed is repeated by `--seed SEED --seeds 1`.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.gossip.sim.runs import CONFIGURATIONS, Figures, run

COLUMNS = ("events", "verdicts", "refutations", "delivered")


def _one(name: str, seed: int) -> Figures:
    return run(seed, CONFIGURATIONS[name])


def report(name: str, figures: Sequence[Figures], seconds: float) -> None:
    """A row of sums, and below it the seed of each failure."""
    bad = [one for one in figures if one.violation]
    sums = [sum(getattr(one, column) for one in figures) for column in COLUMNS]
    healed = max(one.healed_after for one in figures)
    row = f"{name:14}{len(figures):7}{len(bad):5}{seconds:9.0f}{healed:11.0f}"
    print(row + "".join(f"{total:14,}" for total in sums), flush=True)
    for rule, count in Counter(one.violation for one in bad).most_common():
        print(f"  {count} x {rule}")
    for one in bad:
        print(f"  seed {one.seed}: {one.detail}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gossip.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="runs per configuration")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument(
        "--configuration",
        action="append",
        choices=sorted(CONFIGURATIONS),
        help="may be repeated; all when left out",
    )
    chosen = parser.parse_args()
    seeds = range(chosen.seed, chosen.seed + chosen.seeds)
    head = f"{'configuration':14}{'runs':>7}{'bad':>5}{'seconds':>9}{'healed (s)':>11}"
    print(head + "".join(f"{column:>14}" for column in COLUMNS))
    failures = 0
    for name in chosen.configuration or CONFIGURATIONS:
        began = time.monotonic()
        with ProcessPoolExecutor(chosen.workers) as pool:
            figures = list(pool.map(partial(_one, name), seeds, chunksize=8))
        report(name, figures, time.monotonic() - began)
        failures += sum(bool(one.violation) for one in figures)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
