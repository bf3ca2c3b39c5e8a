"""The machine: same log, same bytes, whatever happens between; a request is applied once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import Invalid, MeshError
from mesh.registry import catalog, kv
from mesh.registry.envelope import FORMAT, Envelope, seal
from mesh.registry.port import Command
from mesh.server import machine as machines
from mesh.server.machine import Machine

NAMES = st.sampled_from(["a", "b", "web/1", "web/2"])
COMMANDS = st.one_of(
    st.builds(kv.Set, NAMES, st.binary(max_size=3), check_index=st.none() | st.integers(0, 9)),
    st.builds(kv.Delete, NAMES),
    st.builds(kv.DeleteUnder, st.sampled_from(["", "web/"])),
    st.builds(
        catalog.Register,
        node=st.builds(catalog.Node, name=NAMES, address=st.just("10.0.0.1")),
        service=st.none() | st.builds(catalog.Service, node=st.just(""), id=NAMES, name=NAMES),
        checks=st.lists(
            st.builds(catalog.Check, node=st.just(""), id=NAMES, service_id=st.just("") | NAMES),
            max_size=2,
        ),
    ),
    st.builds(catalog.Deregister, node=NAMES, service_id=st.just("") | NAMES),
)


def entry(command: Command[bool], request: str) -> bytes:
    return seal(Envelope(FORMAT, request, 1.0, "", "test", command))  # type: ignore[arg-type]


def pieces_of(machine: Machine) -> list[bytes]:
    return [piece for piece in machine.snapshot() if piece]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(COMMANDS, st.integers(0, 20)), max_size=25), st.data())
def test_any_log_and_any_snapshot_point_give_the_same_bytes(
    log: list[tuple[Command[bool], int]], data: st.DataObject
) -> None:
    entries = [entry(command, f"request-{number}") for command, number in log]
    whole, restarted = Machine(), Machine()
    cut = data.draw(st.integers(0, len(entries)))
    for index, packed in enumerate(entries, 2):
        whole.apply(index, packed)
        restarted.apply(index, packed)
        if index - 1 == cut:
            snapshot, restarted = pieces_of(restarted), Machine()
            restarted.prepare(index, iter(snapshot)).install()
    assert pieces_of(whole) == pieces_of(restarted)


def test_a_request_is_applied_once_and_answered_the_same() -> None:
    machine = Machine()
    assert machine.apply(2, entry(kv.Set("x", b"1", check_index=0), "r1")) is True
    assert machine.apply(3, entry(kv.Set("x", b"1", check_index=0), "r1")) is True
    assert machine.apply(4, entry(kv.Set("x", b"2", check_index=0), "r2")) is False
    pair = machine.answers.read(kv.Get("x")).value
    assert pair is not None
    assert pair.modify_index == 2


def test_a_refused_command_changes_nothing_and_stays_refused() -> None:
    machine = Machine()
    bad = catalog.Register(
        node=catalog.Node(name="n", address="10.0.0.1"),
        checks=[catalog.Check(node="", id="c", service_id="ghost")],
    )
    for index in (2, 3):
        outcome = machine.apply(index, entry(bad, "r"))
        assert isinstance(outcome, Invalid)
        assert "ghost" in outcome.message
    assert machine.answers.read(catalog.Nodes()).value == []


def test_a_snapshot_that_is_bad_changes_nothing() -> None:
    machine = Machine()
    machine.apply(2, entry(kv.Set("x", b"1"), "r"))
    good = pieces_of(machine)
    bads = [[], good[:-1], good[1:], [*good[:-1], good[-1][:-1]], good[:2] + good[1:]]
    for bad in (*bads, [good[0], b"\x00", *good[1:]]):
        try:
            machine.prepare(9, iter(bad))
        except MeshError:
            pass
        else:
            raise AssertionError("a bad snapshot was accepted")
    assert pieces_of(machine) == good


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
    assert pieces_of(Machine()) != pieces_of(machine)


def test_there_is_a_limit_whatever_the_clock_says(machine: Machine) -> None:
    assert feed(machine, [9.0 - n for n in range(9)]) == ["r5", "r6", "r7", "r8", "r9", "r10"]


def test_a_restored_machine_forgets_the_same(machine: Machine) -> None:
    feed(machine, [1.0, 2.0, 3.0, 4.0, 5.0])
    copy = Machine()
    copy.prepare(6, iter(pieces_of(machine))).install()
    late = seal(Envelope(FORMAT, "late", 100.0, "", "test", kv.Delete("a")))
    machine.apply(7, late)
    copy.apply(7, late)
    assert pieces_of(copy) == pieces_of(machine)
