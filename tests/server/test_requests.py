"""Which requests are still known when they come again: the latest, and the young, up to a limit."""

import pytest

from mesh.registry import kv
from mesh.registry.envelope import FORMAT, Envelope, seal
from mesh.server import machine as machines
from mesh.server.machine import Machine


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(machines, "REQUESTS_KEPT", 3)
    monkeypatch.setattr(machines, "REQUESTS_MAX", 6)
    return Machine()


def feed(machine: Machine, times: list[float]) -> list[str]:
    """Apply a request at each of these times; those still known at the end."""
    for index, time in enumerate(times, 2):
        command = kv.Set("a", b"%d" % index)
        machine.apply(index, seal(Envelope(FORMAT, f"r{index}", time, "", "test", command)))
    return [request for request in (f"r{n}" for n in range(2, 99)) if request in machine._done]


def test_young_ones_stay_beyond_the_count(machine: Machine) -> None:
    assert feed(machine, [1.0, 2.0, 3.0, 4.0, 60.0]) == ["r2", "r3", "r4", "r5", "r6"]


def test_old_ones_go_down_to_the_count_two_at_a_time(machine: Machine) -> None:
    assert feed(machine, [1.0, 2.0, 3.0, 4.0, 5.0, 100.0]) == ["r4", "r5", "r6", "r7"]
    assert Machine().snapshot()() != machine.snapshot()()


def test_there_is_a_limit_whatever_the_clock_says(machine: Machine) -> None:
    assert feed(machine, [9.0 - n for n in range(9)]) == ["r5", "r6", "r7", "r8", "r9", "r10"]


def test_a_restored_machine_forgets_the_same(machine: Machine) -> None:
    feed(machine, [1.0, 2.0, 3.0, 4.0, 5.0])
    copy = Machine()
    copy.restore(6, machine.snapshot()())
    late = seal(Envelope(FORMAT, "late", 100.0, "", "test", kv.Delete("a")))
    machine.apply(7, late)
    copy.apply(7, late)
    assert copy.snapshot()() == machine.snapshot()()
