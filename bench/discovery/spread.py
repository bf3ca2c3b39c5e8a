"""Spread: how long after a check failed the last of many agents answers without the instance."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec

from bench import node
from bench.discovery.figures import Figure, Figures, heading, line, middle
from bench.discovery.firsts import question
from bench.node import Node

AGENTS = (5, 20)
TIMES = 20
POLL_SECONDS = 0.002
PATIENCE_SECONDS = 30.0
SERVICE = "flaps"
COLUMNS = (
    ("agents", 6), ("times", 7), ("first ms", 10), ("half of them", 14), ("last: p50", 11),
    ("p90", 8), ("worst", 8), ("back: p50", 11), ("worst", 8),
)  # fmt: skip


def measure(found: Figures, agents: Sequence[int] = AGENTS, times: int = TIMES) -> None:
    """Fail a check with one agent again and again, and ask all of them all the time."""
    title = f"From a failed check to answers without it; each asked every {POLL_SECONDS * 1e3:g} ms"
    heading(title, COLUMNS)
    with node.servers("mesh", 1) as (server,), ExitStack() as stack:
        running: list[Node] = []
        for count in agents:
            while len(running) < count:
                name = f"agent-{len(running)}"
                running.append(stack.enter_context(node.agent(server, name)))
            _round(found, running, times)


def _round(found: Figures, agents: Sequence[Node], times: int) -> None:
    _register(agents[0], agents[-1])
    failing, back = [], []
    with _watch(agents) as watch:
        watch.until(2, time.monotonic())
        for _ in range(times):
            failing.append(watch.until(1, _tell(agents[0], "fail")))
            back.append(watch.until(2, _tell(agents[0], "pass")))
    last, returned = sorted(one[-1] * 1e3 for one in failing), [one[-1] * 1e3 for one in back]
    told = {
        "first": middle([one[0] for one in failing]) * 1e3,
        "half": middle([one[len(one) // 2] for one in failing]) * 1e3,
        "p90": last[int(0.9 * len(last))],
        "worst": last[-1],
        "back": middle(returned),
        "back worst": max(returned),
    }
    within = [(100 * (number + 1) / len(last), one) for number, one in enumerate(last)]
    about = Figure("spread", "failed check", "agent", len(agents), p50=middle(last))
    figure = msgspec.structs.replace(about, spread=within, extra=told)
    found.add(figure)
    shown = ["first", "half", "", "p90", "worst", "back", "back worst"]
    values = [figure.extra.get(name, figure.p50) for name in shown]
    line(COLUMNS, [str(len(agents)), str(times), *(f"{value:.0f}" for value in values)])


def _register(flapping: Node, steady: Node) -> None:
    """One instance with a check that is told by hand, and one that stays."""
    check = {"TTL": "10m", "Status": "passing"}
    body = {"Name": SERVICE, "ID": SERVICE, "Port": 1, "Address": "10.9.0.1", "Check": check}
    flapping.put("/v1/agent/service/register", json.dumps(body).encode())
    del body["Check"]
    steady.put(
        "/v1/agent/service/register",
        json.dumps(body | {"Address": "10.9.0.2", "ID": "steady"}).encode(),
    )


def _tell(agent: Node, status: str) -> float:
    """Have the agent know how its instance fares; when that was asked."""
    began = time.monotonic()
    agent.put(f"/v1/agent/check/{status}/service:{SERVICE}", b"")
    return began


class _Watch:
    """Asks all agents for the service, each again soon after its answer."""

    def __init__(self, askers: Sequence[socket.socket]) -> None:
        self._askers = askers
        self._question = question(f"{SERVICE}.service.mesh", "A")
        self._selector = selectors.DefaultSelector()
        for asker in askers:
            self._selector.register(asker, selectors.EVENT_READ, asker)

    def until(self, count: int, began: float) -> list[float]:
        """Wait until each answers with so many instances; the seconds each took, in order."""
        taken: list[float] = []
        waiting = set(self._askers)
        while waiting:
            turn = time.monotonic()
            if turn - began > PATIENCE_SECONDS:
                raise SystemExit(f"{len(waiting)} agents do not hear of it")
            for asker in waiting:
                asker.send(self._question)
            due = set(waiting)
            while due and (events := self._selector.select(1.0)):
                for key, _ in events:
                    asker = key.data
                    told = int.from_bytes(asker.recv(4096)[6:8], "big")
                    due.discard(asker)
                    if told == count and asker in waiting:
                        waiting.discard(asker)
                        taken.append(time.monotonic() - began)
            time.sleep(max(0.0, turn + POLL_SECONDS - time.monotonic()))
        return taken


@contextmanager
def _watch(agents: Sequence[Node]) -> Iterator[_Watch]:
    with ExitStack() as stack:
        askers = []
        for one in agents:
            asker = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            asker.connect(("127.0.0.1", one.dns))
            askers.append(asker)
        yield _Watch(askers)
