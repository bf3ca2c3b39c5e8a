"""`./dev bench registry [--parts A,B] [--seconds N]`: the registry through HTTP, beside consul.

- `writes`: PUT /v1/kv on one server with 32 clients, and on three with 1, 32 and 256.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from bench import writes

PARTS: dict[str, Callable[[float], None]] = {"writes": writes.measure}


def main(arguments: Sequence[str]) -> None:
    """Measure the parts named, or all."""
    parser = argparse.ArgumentParser(prog="./dev bench registry", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="some of " + ", ".join(PARTS))
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each load")
    options = parser.parse_args(arguments)
    names = options.parts.split(",")
    for name in names:
        if name not in PARTS:
            parser.error(f'there is no part "{name}"; there are {", ".join(PARTS)}')
    for name in names:
        PARTS[name](options.seconds)
