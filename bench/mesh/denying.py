"""How soon a denial holds on connections that are open.

Counted is, for each connection and each change, from when the agent has answered the PUT to when
the last answer came that the old rule gave; below 0 when that was before the PUT was answered.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from bench.mesh import stage
from bench.mesh.loader import Row, load
from tests.cluster.processes import Meshd, free_ports

CONNECTIONS = 50
RATE = 1000.0
"""Requests a second, of all connections together: each asks every 50 ms."""
FRESH_RATE = 200.0
WANTED_SECONDS = 0.3
SETTLE_SECONDS = 1.0
"""Between changes, beyond what connections of the old rule may last."""


class Flip(NamedTuple):
    """A change of the rule."""

    action: str
    asked: float
    returned: float


def measure(flips: int, rate: float = RATE) -> None:
    """Print how late the old rule was for the last time used, with HTTP and with TCP."""
    with ExitStack() as stack:
        made = stack.enter_context(stage.cluster())
        here, there = made.agents
        app, web, http, tcp = free_ports(stage.HERE, 4)
        stack.enter_context(stage.backend(app))
        stage.protocol(here, "payments", "http")
        stage.register(there, "payments", app)
        stage.register(there, "ledger", app)
        stage.register(here, "web", web, {"payments": http, "ledger": tcp})
        for port in (http, tcp):
            stage.wait_for(port, 200)
        print(f"{'ms after the answer to the PUT':<38}{'of':>8}{stage.SPREAD}", flush=True)
        with load(http, CONNECTIONS, rate) as asked:
            made_flips = flip(here, "payments", flips, SETTLE_SECONDS)
        tell("HTTP service, open connections", made_flips, asked.rows)
        with (
            load(tcp, CONNECTIONS, rate) as asked,
            load(tcp, CONNECTIONS, FRESH_RATE, "--fresh") as fresh,
        ):
            made_flips = flip(here, "ledger", max(1, flips // 3), SETTLE_SECONDS)
        tell("TCP service, open connections", made_flips, asked.rows)
        tell("TCP service, new connections", made_flips, fresh.rows)
    print(
        f"wanted: nothing later than {WANTED_SECONDS * 1e3:.0f} ms; of a TCP service a denial cuts "
        "the connections, and what allows cuts none"
    )


def flip(node: Meshd, service: str, times: int, rest: float) -> list[Flip]:
    """Deny and allow, and let requests go on for so many seconds after each."""
    path = f"/v1/connect/intentions/exact?source=web&destination={service}"
    found = []
    for action in ["deny", "allow"] * times:
        asked = time.monotonic()
        node.put(path, {"Action": action})
        found.append(Flip(action, asked, time.monotonic()))
        time.sleep(rest)
    return found


def lateness(flips: Sequence[Flip], rows: Iterable[Row], action: str) -> list[float]:
    """Seconds, for each change to this action and each connection that had used the old rule."""
    ends = [*(one.asked for one in flips[1:]), float("inf")]
    begins = [float("-inf"), *(one.asked for one in flips)]
    ordered = sorted(rows, key=lambda row: row.answered)
    found = []
    for number, one in enumerate(flips):
        if one.action != action:
            continue
        last: dict[int, float] = {}
        for row in ordered:
            old = (row.status == 200) == (action == "deny")
            if old and begins[number] <= row.sent and row.answered < ends[number]:
                last[row.connection] = row.answered
        found += [when - one.returned for when in last.values()]
    return found


def tell(title: str, flips: Sequence[Flip], rows: Sequence[Row]) -> None:
    """Print a line for denials, and one for what allows again."""
    for action in ("deny", "allow"):
        late = lateness(flips, rows, action)
        if not late:
            raise SystemExit(f"{title}: the rule that {action} replaced was never seen to hold")
        print(f"{f'{action}: {title}':<38}{len(late):>8}{stage.spread(late)}", flush=True)
    waited = [row.answered - row.sent for row in rows]
    puts = [one.returned - one.asked for one in flips]
    print(f"{'  an answer took':<46}{stage.spread(waited)}")
    print(f"{'  the PUT took':<46}{stage.spread(puts)}", flush=True)
