"""How soon a denial holds where the rules are in the listener, beside where they are on their own.

The same agents and Envoys three times: as mesh has it, with the rules in the listener (`inlined`),
and with those and HTTP/1.1 between sidecars. Each is asked busily, and in bursts: all connections
at once, and then nothing for a while, so that many connections between sidecars are open and rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from bench.mesh import inlined, stage
from bench.mesh.denying import CONNECTIONS, WANTED_SECONDS, Flip, flip, lateness
from bench.mesh.loader import Row, load
from tests.cluster.forked import MESHD
from tests.cluster.processes import free_ports

INLINED = "bench.mesh.inlined"
WAYS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("rules on their own", MESHD, {}),
    ("rules in the listener", INLINED, {}),
    ("same, HTTP/1.1 between sidecars", INLINED, {inlined.HTTP1: "1"}),
)
BURST_SECONDS = 2.0
MORE_SECONDS = 1.0
"""How long requests go on at least after the drain has ended, until the next change."""
REST_SECONDS_MAX = 12.0
"""Until the next change even if the drain takes longer."""


class Late(NamedTuple):
    """What a denial came to: of each connection, and of all requests."""

    seconds: list[float]
    """As `lateness`."""
    served: int
    """Requests that the old rule let pass after the PUT was answered."""


def measure(flips: int, rate: float, drain: int) -> None:
    """Print how late the old rule was for the last time used, for each way and kind of load."""
    print(f"deny, drain {drain} s; ms after the answer to the PUT, HTTP service")
    bursts_kept = math.ceil((drain + MORE_SECONDS) / BURST_SECONDS)
    rest = min(REST_SECONDS_MAX, bursts_kept * BURST_SECONDS)
    head = f"{'':<41}{'of':>5}{'min':>9}{stage.SPREAD}{'late':>6}{'served':>8}"
    print(head, flush=True)
    for title, module, environment in WAYS:
        with ExitStack() as stack:
            made = stack.enter_context(
                stage.cluster(drain=f"{drain}s", module=module, environment=environment)
            )
            here, there = made.agents
            app, web, port = free_ports(stage.HERE, 3)
            stack.enter_context(stage.backend(app))
            stage.protocol(here, "payments", "http")
            stage.register(there, "payments", app)
            stage.register(here, "web", web, {"payments": port})
            stage.wait_for(port, 200)
            bursts = CONNECTIONS / BURST_SECONDS
            for pace, asked, more in (("busy", rate, []), ("bursts", bursts, ["--together"])):
                with load(port, CONNECTIONS, asked, *more) as found:
                    time.sleep(BURST_SECONDS / 2)  # Rules change amid the rest between bursts.
                    changes = flip(here, "payments", flips, rest)
                _tell(f"{title}, {pace}", late(changes, found.rows))
    print(
        f"late: connections with a request by the old rule more than {WANTED_SECONDS * 1e3:.0f} ms "
        "after the PUT was answered; served: requests after it, of all denials"
    )


def late(flips: Sequence[Flip], rows: Sequence[Row]) -> Late:
    """What became of the denials."""
    served = 0
    for one, after in zip(flips[::2], flips[1::2], strict=True):
        between = [row for row in rows if one.returned < row.answered < after.asked]
        served += sum(row.status == 200 and row.sent > one.returned for row in between)
    return Late(lateness(flips, rows, "deny"), served)


def _tell(title: str, found: Late) -> None:
    if not found.seconds:
        raise SystemExit(f"{title}: what was allowed was never seen to be")
    over = sum(one > WANTED_SECONDS for one in found.seconds)
    figures = f"{min(found.seconds) * 1e3:>9,.1f}{stage.spread(found.seconds)}"
    count = len(found.seconds)
    print(f"{title:<41}{count:>5}{figures}{over:>6}{found.served:>8}", flush=True)
