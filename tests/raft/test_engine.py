"""The library behind the engine: the very source that was read, and nothing of it pickles."""

import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.raft.engine import NO_OP, STOP_SIGN, Engine
from mesh.raft.journal import Journal

VERSION = "0.3.17"
SOURCE = "e8bdf06797085d734df86e24ab4802fe87893dff77268565ec036f7ad4a1cfe4"


class Hooks:
    def __init__(self) -> None:
        self.applied: list[tuple[int, int, bytes | None]] = []
        self.asked: list[str] = []
        self.stops: list[tuple[int, int, bytes]] = []

    def apply(self, index: int, term: int, command: bytes | None) -> None:
        self.applied.append((index, term, command))

    def stop_sign(self, index: int, term: int, record: bytes) -> None:
        self.stops.append((index, term, record))

    def ask_vote(self, voter: str) -> None:
        self.asked.append(voter)

    def give_vote(self, candidate: str, term: int) -> None:
        raise AssertionError("nobody asked")

    def role_changed(self) -> None: ...


def engine(*others: str) -> tuple[Engine, Hooks, Journal]:
    hooks, journal = Hooks(), Journal()
    timing = (SystemClock(), SeededDice(1), 2.0)
    return Engine("me", others, journal, hooks, timing), hooks, journal


def test_the_library_is_the_one_that_was_read() -> None:
    """When this fails: read the list at the top of `engine` against the new source, then pin it."""
    spec = importlib.util.find_spec("pysyncobj.syncobj")
    assert spec is not None
    assert spec.origin is not None
    assert importlib.metadata.version("pysyncobj") == VERSION
    assert hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest() == SOURCE


def test_a_single_voter_elects_itself_and_applies() -> None:
    one, hooks, journal = engine()
    one.campaign()
    assert (one.leads, one.leader, one.term, journal.vote) == (True, "me", 1, "me")
    index = one.append(b"a command")
    one.tick()
    assert hooks.applied == [(2, 1, None), (index, 1, b"a command")]
    assert journal.entries[0] == (NO_OP, 1, 0)


def test_a_majority_is_needed_and_each_answer_counts() -> None:
    one, hooks, _ = engine("a", "b")
    one.campaign()
    assert sorted(hooks.asked) == ["a", "b"]
    leads = [one.leads]
    one.hear_vote("a", 1)
    assert [*leads, one.leads] == [False, True]
    index = one.append(b"x")
    one.tick()
    assert one.commit == 1
    one.hear_ack("b", index, matches=False)
    one.tick()
    assert one.commit == 1
    one.hear_ack("b", index, matches=True)
    one.tick()
    assert one.commit == index == hooks.applied[-1][0]
    one.hear_term(7)
    assert (one.leads, one.term, one.leader) == (False, 7, "")


def test_a_heartbeat_deletes_nothing() -> None:
    one, _, journal = engine("a", "b")
    journal.append(b"\x00x", 2, 0)
    one.hear_leader("a", 3, 1)
    assert (one.term, one.leader, one.commit, journal.last_index) == (3, "a", 1, 2)


@pytest.mark.parametrize("command", [b"\x00cposix\nsystem\n.", b"\x02cposix\nsystem\n.", b"\x03."])
def test_a_pickle_in_the_log_stays_bytes(command: bytes) -> None:
    one, hooks, journal = engine()
    one.campaign()
    journal.append(command, journal.last_index + 1, one.term)
    one.tick()
    kept = command[1:] if command[:1] == b"\x00" else None
    assert hooks.applied[-1][2] == kept


@pytest.mark.parametrize("name", ["loads", "dumps", "load", "dump"])
def test_the_library_cannot_pickle(name: str) -> None:
    one, _, _ = engine()
    library: Any = one._library
    module = library.doTick.__globals__
    assert module["__name__"] == "pysyncobj.syncobj"
    with pytest.raises(AssertionError, match="ever pickled"):
        getattr(module["pickle"], name)(b"N.")


def test_nothing_after_a_stop_sign_is_applied() -> None:
    made, hooks, journal = engine()
    made.campaign()
    made.append(b"before")
    made.append(b"next", STOP_SIGN)
    made.append(b"after")
    made.tick()
    made.tick()
    assert hooks.stops == [(4, 1, b"next")]
    assert [command for _, _, command in hooks.applied] == [None, b"before"]
    assert made.commit == made.applied == 4
    assert journal.last_index == 5
