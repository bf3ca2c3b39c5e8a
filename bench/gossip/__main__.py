"""`./dev bench gossip [--parts codec,simulation,sockets]`: what membership costs, part by part."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

PARTS = {
    "sockets": "300 members in one process, on real sockets",
}


def main(arguments: Sequence[str]) -> None:
    """Run the parts named, or all; each is `run` of the module of its name."""
    parser = argparse.ArgumentParser(prog="./dev bench gossip", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    wanted = parser.parse_args(arguments).parts.split(",")
    if unknown := [name for name in wanted if name not in PARTS]:
        parser.error(f"--parts: {', '.join(unknown)}: expected {', '.join(PARTS)}")
    for name in wanted:
        print(f"-- {name}: {PARTS[name]}", flush=True)
        importlib.import_module(f"bench.gossip.{name}").run()


if __name__ == "__main__":
    main(sys.argv[1:])
