"""Restores through the log: all or nothing, and the same on every server, restarted or not."""

from hashlib import sha256
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.codec import pack
from mesh.errors import Conflict, Invalid, MeshError, NotFound
from mesh.registry import kv, sessions
from mesh.registry.envelope import Envelope, seal
from mesh.registry.levels import Found, level_of
from mesh.registry.port import Command
from mesh.registry.restores import (
    CHUNK_BYTES_MAX,
    CLEANED_ROWS,
    IDLE_SECONDS,
    Abandon,
    Add,
    Begin,
    Finish,
    State,
)
from mesh.server.machine import Machine
from mesh.store.export import MAGIC, Digest, End, Rows, Start, framed

LEVEL = 4


class Log:
    """One log applied to some machines at once."""

    def __init__(self, *machines: Machine) -> None:
        self.machines = list(machines) or [Machine()]
        self.index = 1
        self.time = 1.0
        self.numbers = count()
        self.write(Found(LEVEL))

    def write(self, command: Command[Any]) -> object:
        """Apply it on each machine; what came of it is the same everywhere."""
        self.index += 1
        request = f"r{next(self.numbers)}"
        entry = seal(Envelope(LEVEL, request, self.time, "", "t", command, since=self.index - 1))  # type: ignore[arg-type]
        results = [machine.apply(self.index, entry) for machine in self.machines]
        assert len({repr(result) for result in results}) == 1
        return results[0]

    def refused(self, command: Command[Any], kind: type[MeshError], words: str) -> None:
        result = self.write(command)
        assert isinstance(result, kind)
        assert words in result.message

    def keys(self) -> list[str]:
        found: list[str] = self.machines[0].answers.read(kv.Keys("")).value
        return found


def pieces_of(machine: Machine) -> list[bytes]:
    return [piece for piece in machine.snapshot() if piece]


def state_of(keys: list[str], value: bytes = b"v") -> bytes:
    """The state of a cluster with these keys."""
    log = Log()
    for key in keys:
        log.write(kv.Set(key, value))
    return b"".join(log.machines[0].export())


def commands(data: bytes, chunk: int = 300) -> list[Command[Any]]:
    adds = [
        Add("x", number, data[at : at + chunk])
        for number, at in enumerate(range(0, len(data), chunk))
    ]
    return [
        Begin("x", "snap", len(data), LEVEL),
        *adds,
        Finish("x", sha256(data).hexdigest()),
    ]


NEW = [f"new/{number}" for number in range(40)]


def test_a_restore_replaces_everything_at_once_and_nothing_before() -> None:
    log = Log()
    log.write(kv.Set("old", b"1"))
    *before, finish = commands(state_of(NEW))
    for command in before:
        assert not isinstance(log.write(command), MeshError)
        assert log.keys() == ["old"]
    log.write(kv.Set("written-meanwhile", b""))
    told: list[int] = []
    log.machines[0].on_restored = lambda: told.append(1)
    assert log.write(finish) == log.index
    assert sorted(log.keys()) == sorted(NEW)
    assert told == [1]
    assert level_of(log.machines[0].database) == LEVEL
    (last,) = log.machines[0].answers.read(State()).value
    assert (last.key, last.name, last.received) == ("last", "snap", last.size)


def test_whoever_waits_is_told_even_if_nothing_differs() -> None:
    log = Log()
    for key in NEW:
        log.write(kv.Set(key, b"v"))
    live, woken = log.machines[0].answers.read(kv.Get("new/1")), []
    log.machines[0].answers.listen(kv.Get("new/1"), lambda: woken.append(1))
    before = live.index
    for command in commands(state_of(NEW)):
        log.write(command)
    assert woken
    again = log.machines[0].answers.read(kv.Get("new/1"))
    assert again.index == log.index > before
    log.write(kv.Set("new/1", b"other"))
    assert log.machines[0].answers.read(kv.Get("new/1")).index == log.index


def test_indexes_of_a_longer_log_do_not_reach_into_this_one() -> None:
    longer = [f"{number}" for number in range(200)]
    log = Log()
    for command in commands(state_of(longer), 10_000):
        log.write(command)
    rows = log.machines[0].database.contents["kv"].rows.values()
    assert max(row.modify_index for row in rows) < log.index
    log.write(kv.Set("0", b"new"))
    pair = log.machines[0].answers.read(kv.Get("0"))
    assert pair.value is not None
    assert pair.value.modify_index == log.index == pair.index


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_servers_stay_equal_wherever_one_was_restarted(data: st.DataObject) -> None:
    log = Log(Machine(), Machine())
    script = commands(state_of(NEW), data.draw(st.sampled_from([100, 1000])))
    if data.draw(st.booleans()):  # A chunk is lost or torn.
        at = data.draw(st.integers(0, len(script) - 1))
        script[at : at + 1] = data.draw(st.sampled_from([[], [Add("x", at - 1, b"noise")]]))
    script += [kv.Set("after", b""), Abandon("x")]
    cut = data.draw(st.integers(0, len(script) - 1))
    for number, command in enumerate(script):
        if number == cut:
            fresh = Machine()
            fresh.prepare(log.index, iter(pieces_of(log.machines[1]))).install()
            log.machines[1] = fresh
        log.write(command)
        one, two = log.machines
        assert pieces_of(one) == pieces_of(two)
        assert one.database.floor == two.database.floor


def test_a_damaged_state_changes_nothing() -> None:
    log, data = Log(), state_of(NEW)
    log.write(kv.Set("old", b"1"))
    broken = data[:-1] + bytes([data[-1] ^ 1])
    for command in commands(broken)[:-1]:
        log.write(command)
    log.refused(Finish("x", sha256(data).hexdigest()), Invalid, "not those that were announced")
    assert isinstance(log.write(Finish("x", sha256(broken).hexdigest())), Invalid)
    assert log.keys() == ["old"]
    assert log.write(Abandon("x")) == 0
    for command in commands(data):
        assert not isinstance(log.write(command), MeshError)
    assert log.keys() == sorted(NEW)


def test_one_restore_at_a_time_until_it_is_abandoned() -> None:
    log, data = Log(), state_of(NEW)
    begin, *adds, _ = commands(data, 10)
    log.write(begin)
    for add in adds[: CLEANED_ROWS + 5]:
        log.write(add)
    other = Begin("y", "snap", len(data), LEVEL)
    log.refused(other, Conflict, "another restore is under way")
    assert log.write(Abandon()) == 0  # It goes on, so nobody may give it up for it.
    log.time += IDLE_SECONDS + 1
    log.refused(other, Conflict, "is being cleaned up")
    assert log.write(Abandon()) == min(5, len(adds) - CLEANED_ROWS)
    log.refused(adds[-1], NotFound, "was given up")
    assert log.write(Abandon()) == 0
    assert log.machines[0].answers.read(State()).value == []
    assert log.machines[0].database.staging is None
    assert log.write(other) == log.index


def test_what_makes_no_sense_is_refused() -> None:
    log, data = Log(), state_of(NEW)
    begin, *adds, finish = commands(data)
    log.refused(finish, NotFound, "was given up")
    log.refused(Begin("x", "s", 9, LEVEL + 1), Conflict, "of feature level 5")
    log.write(begin)
    log.refused(adds[1], Conflict, "expected chunk 0")
    log.write(adds[0])
    log.refused(adds[0], Conflict, "expected chunk 1")
    log.refused(finish, Invalid, "bytes")
    log.refused(Add("x", 1, b"x" * len(data)), Invalid, "more than")
    for bad in (Begin("", "s", 9, 4), Begin("x", "s", 0, 4), Begin("x", "s", 2**40, 4)):
        with pytest.raises(Invalid):
            bad.validate()
    with pytest.raises(Invalid):
        Add("x", 0, b"x" * (CHUNK_BYTES_MAX + 1)).validate()


def test_rows_that_no_index_takes_are_refused_and_stop_no_server() -> None:
    delay = sessions.Delay(key="k", until=float("nan"))
    rows = Rows("lock-delays", [1, 1], msgspec.Raw(pack([delay])))
    digest = Digest()
    digest.update(rows)
    parts = (Start(1, 9, LEVEL, ["lock-delays"]), rows, End(1, digest.value()))
    log = Log()
    log.write(kv.Set("old", b"1"))
    *before, finish = commands(MAGIC + b"".join(framed(pack(part)) for part in parts))
    for command in before:
        assert not isinstance(log.write(command), MeshError)
    log.refused(finish, Invalid, "make no sense")
    assert log.keys() == ["old"]
