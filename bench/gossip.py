"""`./dev bench gossip [PART]`: what gossip costs, part by part."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from bench import gossip_codec

PARTS: dict[str, Callable[[], bool]] = {"codec": gossip_codec.main}
"""Each prints its figures and says whether it met its goals."""


def main(arguments: Sequence[str]) -> None:
    """Measure the part named, or all; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="./dev bench gossip", description=__doc__)
    parser.add_argument("part", nargs="?", choices=sorted(PARTS), help="all if left out")
    options = parser.parse_args(arguments)
    met = [PARTS[name]() for name in ([options.part] if options.part else PARTS)]
    if not all(met):
        sys.exit("a goal was missed")
