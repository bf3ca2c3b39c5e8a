"""How long a service with a sidecar takes from its registration to its first requests."""

from __future__ import annotations

import time
from contextlib import ExitStack
from statistics import median

from bench.mesh import stage
from tests.cluster.processes import Meshd, free_ports

STEP_SECONDS = 0.003


def measure(times: int) -> None:
    """Print until the first answer of an upstream, and until an upstream is the new service."""
    with ExitStack() as stack:
        made = stack.enter_context(stage.cluster())
        here, there = made.agents
        app, web, ledger, *bound = free_ports(stage.HERE, 3 + times + 1)
        stack.enter_context(stage.backend(app))
        names = [f"new-{number}" for number in range(times + 1)]
        for name in ("ledger", *names):
            stage.protocol(here, name, "http")
        stage.register(here, "ledger", app)
        stage.register(here, "web", web, {"ledger": ledger, **dict(zip(names, bound, strict=True))})
        stage.wait_for(ledger, 200)
        outs, ins = [], []
        for name, port in zip(names, bound, strict=True):
            out, into = _started(there, name, app, port)
            outs.append(out)
            ins.append(into)
    print("seconds from the registration to the first answer by mutual TLS")
    for title, taken in (("it calls another", outs), ("another calls it", ins)):
        print(
            f"{title:<18} first proxy of the agent {taken[0]:.2f}, then median "
            f"{median(taken[1:]):.2f}, from {min(taken[1:]):.2f} to {max(taken[1:]):.2f}",
            flush=True,
        )


def _started(node: Meshd, name: str, app: int, door: int) -> tuple[float, float]:
    (own,) = free_ports(stage.HERE, 1)
    began = time.monotonic()
    stage.register(node, name, app, {"ledger": own})
    ends: dict[int, float] = {}

    def asked() -> bool:
        for port in (own, door):
            if port not in ends and stage.answers(port):
                ends[port] = time.monotonic()
        return len(ends) == 2

    stage.until(asked, STEP_SECONDS, f"{name} is reached and reaches others")
    return ends[own] - began, ends[door] - began
