"""Questions: DNS from a server and from an agent, beside servers that know a static zone only."""

from __future__ import annotations

import msgspec

from bench.ceilings import SIZES
from bench.discovery import asking
from bench.discovery.asking import Heard
from bench.discovery.figures import Figure, Figures, heading, line
from bench.discovery.rounds import OURS, Load, Rounds, text_of_rate, text_of_times
from bench.discovery.stage import Stage, change_service, changes
from bench.node import Node

PEERS = ("knot", "unbound", "dnsmasq")
KINDS = ("A", "SRV")
COLUMNS = (
    ("asked", -7), ("instances", 9), ("  of", -11), ("bytes", 6), ("ceiling/s", 11),
    ("answers/s", 11), ("share", 7), ("CPU ms/10k", 12), ("changing/s", 12), ("share", 7),
)  # fmt: skip
TIMES = (("asked", -7), ("of", -9), ("writes", 8), ("p50 ms", 9), ("p99", 9), ("p99.9", 9))


def measure(stage: Stage, rounds: Rounds, found: Figures, *, goals: bool) -> None:
    """Services of 3, 20 and 200 instances; only those with goals if wanted."""
    heading("DNS over UDP with EDNS; the ceiling is Knot with one worker", COLUMNS)
    for kind in KINDS:
        for service in ("web",) if goals else SIZES:
            _row(stage, rounds, found, (kind, service, False), few=goals)
    if goals:
        return
    heading("DNS over TCP, 4 connections with 16 questions under way on each", COLUMNS)
    for kind in KINDS:
        _row(stage, rounds, found, (kind, "many", True), few=False)
    heading(f"Time of answers to {asking.PACE:,} A questions a second, 20 instances", TIMES)
    for name, asked in stage.known(*PEERS, *OURS).items():
        _paced(stage, rounds, found, (name, asked))


def _row(
    stage: Stage, rounds: Rounds, found: Figures, row: tuple[str, str, bool], *, few: bool
) -> None:
    kind, service, tcp = row
    load, top = _load(service, kind, tcp=tcp), (0.0, 0.0)
    # dnsmasq starts a process for each connection and cannot be measured so.
    peers = PEERS[:1] if few else PEERS[:2] if tcp else PEERS
    for name, asked in stage.known(*peers, *OURS).items():
        part = "dns-tcp" if tcp else "dns"
        about = Figure(part, kind, name, SIZES[service], ceiling=top[0], ceiling_cpu=top[1])
        figure, changed = found.add(rounds.measure(about, asked, load)), None
        top = (figure.rate, figure.cpu) if name == "knot" else top
        if name in OURS and not tcp:
            with changes(stage.writable(name), change_service(service)):
                about = msgspec.structs.replace(about, changing=True)
                changed = found.add(rounds.measure(about, asked, load))
        _print(figure, changed)


def _load(service: str, kind: str, *, tcp: bool) -> Load:
    def load(asked: Node, seconds: float) -> Heard:
        return asking.dns(asked, [name_of(asked, service)], kind, seconds, tcp=tcp)

    return load


def name_of(asked: Node, service: str) -> str:
    """What the service is called there."""
    return f"{service}.service.{'consul' if asked.name == 'consul' else 'mesh'}"


def _paced(stage: Stage, rounds: Rounds, found: Figures, one: tuple[str, Node]) -> None:
    name, asked = one

    def load(asked: Node, seconds: float) -> Heard:
        return asking.dns_latency(asked, name_of(asked, "web"), "A", seconds)

    for changing in (False, True) if name in OURS else (False,):
        change = change_service("web") if changing else None
        with changes(stage.writable(name), change):
            about = Figure("dns-paced", "A", name, SIZES["web"], changing=changing)
            figure = found.add(rounds.measure(about, asked, load))
        writes = "200/s" if changing else "none"
        line(TIMES, [figure.what, name, writes, *text_of_times(figure)])


def _print(one: Figure, changed: Figure | None) -> None:
    ceiling = f"{one.ceiling:,.0f}" if one.ceiling else "-"
    about = [one.what, str(one.size), f"  {one.of}", f"{one.bytes:.0f}", ceiling]
    line(COLUMNS, [*about, *text_of_rate(one), f"{one.cpu * 10:.0f}", *text_of_rate(changed)])
