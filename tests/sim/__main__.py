"""Runs many seeds: `./dev run python -m tests.sim --seeds 300 --configuration three-compact`.

One that failed is repeated by `--first SEED --seeds 1`.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.sim.runs import CONFIGURATIONS, Figures, run

COLUMNS = {
    "events": "events", "acked": "acknowledged", "refused": "refused",
    "barrier reads": "barrier_reads", "lease reads": "lease_reads", "elections": "elections",
    "snapshots": "snapshots", "installs": "installs", "damaged": "damaged_snapshots",
    "torn": "torn", "disk errors": "failed_disks",
}  # fmt: skip
FIRST = f"{'configuration':18}{'runs':>6}{'bad':>5}{'seconds':>9}"


def _one(name: str, seed: int) -> Figures:
    logging.disable()  # Clocks of different speed are told of in every run.
    return run(seed, CONFIGURATIONS[name])


def report(name: str, figures: Sequence[Figures], seconds: float) -> None:
    """A row of sums, and below it the seed of each failure."""
    bad = [one for one in figures if one.violation]
    sums = [sum(getattr(one, field) for one in figures) for field in COLUMNS.values()]
    row = f"{name:18}{len(figures):6}{len(bad):5}{seconds:9.0f}"
    print(row + "".join(f"{total:15,}" for total in sums), flush=True)
    for rule, count in Counter(one.violation for one in bad).most_common():
        print(f"  {count} x {rule}")
    for one in bad:
        print(f"  seed {one.seed}: {one.detail}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="runs per configuration")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument(
        "--configuration",
        action="append",
        choices=sorted(CONFIGURATIONS),
        help="may be repeated; all when left out",
    )
    chosen = parser.parse_args()
    failures = 0
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    print(FIRST + "".join(f"{column:>15}" for column in COLUMNS))
    for name in chosen.configuration or CONFIGURATIONS:
        began = time.monotonic()
        with ProcessPoolExecutor(chosen.workers) as pool:
            figures = list(pool.map(partial(_one, name), seeds, chunksize=4))
        report(name, figures, time.monotonic() - began)
        failures += sum(bool(one.violation) for one in figures)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
