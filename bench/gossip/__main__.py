"""`./dev bench gossip [--parts codec,simulation,sockets]`: what membership costs, part by part."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

PARTS = {
    "codec": "packing, reading, sealing and compressing, on their own",
    "simulation": "thousands of members in virtual time",
    "sockets": "300 members in one process, on real sockets",
}


def main(arguments: Sequence[str]) -> None:
    """Run the parts named, or all: `run` of each module says whether it met its goals.

    Exit code 1 when one did not.
    """
    parser = argparse.ArgumentParser(prog="./dev bench gossip", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    wanted = parser.parse_args(arguments).parts.split(",")
    if unknown := [name for name in wanted if name not in PARTS]:
        parser.error(f"--parts: {', '.join(unknown)}: expected {', '.join(PARTS)}")
    missed = []
    for name in wanted:
        print(f"-- {name}: {PARTS[name]}", flush=True)
        if not importlib.import_module(f"bench.gossip.{name}").run():
            missed.append(name)
    if missed:
        sys.exit(f"goals missed: {', '.join(missed)}")


if __name__ == "__main__":
    main(sys.argv[1:])
