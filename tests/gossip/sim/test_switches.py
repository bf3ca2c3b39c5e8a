"""Each rule of gossip is taken out once, and the checkers notice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mesh.gossip.options import Options
from tests.gossip.sim import switches
from tests.gossip.sim.checks import Checks, Violation
from tests.gossip.sim.faults import Trouble
from tests.gossip.sim.runs import CONFIGURATIONS, _never, _until, run
from tests.gossip.sim.scale import Plan
from tests.gossip.sim.scale import run as run_large
from tests.gossip.sim.switches import Switch
from tests.gossip.sim.world import World

SEEDS = 40  # So many random worlds at most; the first that notices ends the search.
Scenario = Callable[[int], None]


def random(name: str) -> Scenario:
    """A random world, as a scenario."""

    def live(seed: int) -> None:
        figures = run(seed, CONFIGURATIONS[name])
        if figures.violation:
            raise Violation(figures.violation, figures.detail)

    live.__name__ = name
    return live


def settled(seed: int) -> tuple[World, Checks]:
    world = World(seed, Options())
    checks = Checks(world)
    checks.troubled_until = world.now
    for number in range(8):
        world.add(f"n{number}")
    for host in world.hosts[1:]:
        Trouble(world, checks).rejoin(host)
    assert _until(world, checks, checks.is_healed, 60.0)
    checks.troubled_until = -1000.0
    return world, checks


def deaf(seed: int) -> None:
    """Datagrams to one member are lost for ever; streams are not. No fault that may kill."""
    world, checks = settled(seed)
    world.network.block(lambda _source, target: target == "n3", only_datagrams=True)
    _until(world, checks, _never, 100.0)


def split(seed: int) -> None:
    """Two sides lose each other until each has given the other up."""
    world, checks = settled(seed)
    checks.troubled_until = float("inf")
    world.network.part(["n0", "n1", "n2"])
    _until(world, checks, _never, 120.0)
    world.network.heal()
    if not _until(world, checks, checks.is_healed, checks.healing):
        raise Violation("views differ", checks.differences())


def slow_for_a_moment(seed: int) -> None:
    """A member hears nothing for some seconds: it is suspected, and has the time to refute."""
    world, checks = settled(seed)
    world.network.isolate("n4")
    _until(world, checks, _never, 2.0)
    world.network.heal()
    _until(world, checks, _never, 60.0)


def missed(seed: int) -> None:
    """No datagram comes to a member while the others have news; it is told in an exchange."""
    world, checks = settled(seed)
    world.network.block(lambda _source, target: target == "n3", only_datagrams=True)
    world.fire(world.hosts[1], "news")
    checks.fired("news")
    _until(world, checks, _never, 10.0)
    world.network.heal()
    _until(world, checks, _never, checks.spread)
    checks.look_at_end()


def restarted(seed: int) -> None:
    """A member dies, all know, and it comes back under its name: known again at once."""
    world, checks = settled(seed)
    host = world.hosts[5]
    checks.crashed.add(host.name)
    world.kill(host)
    assert _until(world, checks, checks.is_healed, checks.detection)
    checks.crashed.clear()
    world.boot(host)
    Trouble(world, checks).rejoin(host)

    def is_known() -> bool:
        # Gossip may miss somebody, who is told in the next exchange of states.
        return sum(view[host.name] == "ALIVE" for view in checks.views().values()) >= 6

    if not _until(world, checks, is_known, 5.0):
        raise Violation("views differ", checks.differences())


TABLE: list[tuple[Switch, Scenario, set[str]]] = [
    (switches.refutation, slow_for_a_moment, {"a false death"}),
    (switches.refutation, random("slow"), {"a false death", "views differ"}),
    (switches.time_to_refute, slow_for_a_moment, {"a false death"}),
    (switches.newer_incarnations, random("rough"), {"an incarnation went back"}),
    (switches.verdicts, random("calm"), {"a death unnoticed"}),
    (switches.rounds_of_probes, random("calm"), {"a death unnoticed"}),
    (switches.probes_over_streams, deaf, {"a false death"}),
    (switches.limit_of_transmissions, random("calm"), {"news without end"}),
    (switches.intents_have_a_time, random("churn"), {"news without end"}),
    (switches.events_once, random("calm"), {"an event twice"}),
    (switches.events_in_exchanges, missed, {"an event is missing"}),
    (switches.reconnecting, split, {"views differ"}),
    (switches.refutation_of_what_a_joiner_is_told, restarted, {"views differ"}),
]


def search(live: Scenario) -> Violation | None:
    """The first violation, if any."""
    for seed in range(SEEDS):
        try:
            live(seed)
        except Violation as violation:
            return violation
    return None


@pytest.mark.parametrize(
    ("switch", "live", "rules"),
    [pytest.param(*row, id=f"{row[0].__name__}-{row[1].__name__}") for row in TABLE],
)
def test_the_absence_of_a_rule_is_noticed(
    switch: Switch, live: Scenario, rules: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    switch(monkeypatch)
    violation = search(live)
    assert violation is not None, f"without {switch.__name__} nothing went wrong in {SEEDS} worlds"
    assert violation.rule in rules, str(violation)


@pytest.mark.parametrize("live", [deaf, split, slow_for_a_moment, missed, restarted])
def test_with_all_rules_nothing_goes_wrong(live: Scenario) -> None:
    for seed in range(5):
        live(seed)


def test_every_switch_is_in_the_table() -> None:
    known = {
        value
        for name, value in vars(switches).items()
        if getattr(value, "__module__", "") == switches.__name__ and not name.startswith("_")
    }
    assert known == {switch for switch, _, _ in TABLE} | set(switches.LIFEGUARD)


def test_without_lifeguard_slow_members_blame_healthy_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The harmful case: messages wait while timers run, so that a slow member misses answers."""
    plan = Plan(
        members=64,
        held=6,
        held_seconds=16.0,
        held_every=24.0,
        seconds=90.0,
        options=Options(suspicion_mult=5),
    )
    assert run_large(1, plan).false_verdicts == 0
    for switch in switches.LIFEGUARD:
        switch(monkeypatch)
    assert run_large(1, plan).false_verdicts > 500
