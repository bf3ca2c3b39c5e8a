"""Runs many seeds: `./dev run python -m tests.sim --seeds 300 --configuration three-compact`."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.sim.runs import CONFIGURATIONS, Figures, run

COLUMNS = (
    "events", "acknowledged", "barrier_reads", "lease_reads", "elections", "snapshots", "installs",
    "damaged_snapshots", "torn", "failed_disks",
)  # fmt: skip


def _one(name: str, seed: int) -> Figures:
    return run(seed, CONFIGURATIONS[name])


def report(name: str, figures: Sequence[Figures], seconds: float) -> None:
    """Sums, and the seed of each failure."""
    bad = [one for one in figures if one.violation]
    sums = "  ".join(
        f"{column.replace('_', ' ')} {sum(getattr(one, column) for one in figures):,}"
        for column in COLUMNS
    )
    print(f"{name}: {len(figures)} runs, {len(bad)} with a violation, {seconds:.0f} s\n  {sums}")
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
    for name in chosen.configuration or CONFIGURATIONS:
        began = time.monotonic()
        with ProcessPoolExecutor(chosen.workers) as pool:
            figures = list(pool.map(partial(_one, name), seeds, chunksize=4))
        report(name, figures, time.monotonic() - began)
        failures += sum(bool(one.violation) for one in figures)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
