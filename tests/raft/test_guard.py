"""The rules on receiving, each with the case that breaks the library without it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.raft.guard import (
    Ballot,
    Differs,
    Matches,
    Patience,
    Tripwire,
    check_entries,
    clamp_commit,
    log_is_new_enough,
    receive_entries,
    snapshot_is_held,
)
from mesh.raft.journal import Journal


def journal(*terms: int, first: int = 1) -> Journal:
    made = Journal()
    for index, term in enumerate(terms, start=first):
        made.append(b"\x00%d" % term, index, term)
    return made


def entries(*terms: int) -> list[tuple[int, bytes]]:
    return [(term, b"\x00%d" % term) for term in terms]


def terms(of: Journal) -> list[int]:
    return [entry[2] for entry in of.entries]


def test_an_old_message_deletes_nothing() -> None:
    log = journal(1, 1, 1, 1, 1)
    assert receive_entries(log, 1, (1, 1), entries(1, 1)) == Matches(3)
    assert terms(log) == [1, 1, 1, 1, 1]


def test_only_what_conflicts_goes() -> None:
    log = journal(1, 1, 2, 2)
    assert receive_entries(log, 2, (1, 1), entries(1, 3)) == Matches(3)
    assert terms(log) == [1, 1, 3]


def test_nothing_committed_is_ever_deleted() -> None:
    with pytest.raises(Tripwire):
        receive_entries(journal(1, 1, 2, 2), 3, (1, 1), entries(1, 3))
    with pytest.raises(Tripwire):
        receive_entries(journal(1, 1, 2, 2), 3, (3, 3), entries(3))


def test_a_gap_asks_for_the_next() -> None:
    assert receive_entries(journal(1, 1), 1, (5, 1), entries(1)) == Differs(3)


def test_a_conflict_asks_for_the_first_of_its_term_above_commit() -> None:
    assert receive_entries(journal(1, 1, 2, 2, 2), 1, (5, 3), []) == Differs(3)
    assert receive_entries(journal(1, 1, 2, 2, 2), 3, (5, 3), []) == Differs(4)


def test_what_the_snapshot_holds_matches() -> None:
    log = journal(2, 2, first=10)
    assert receive_entries(log, 10, (5, 1), entries(1, 1)) == Matches(7)
    assert receive_entries(log, 10, (8, 1), entries(1, 2, 2, 2)) == Matches(12)
    assert terms(log) == [2, 2, 2]


def test_commit_stays_within_what_was_compared() -> None:
    assert clamp_commit(Matches(5), 9, 3) == 5
    assert clamp_commit(Matches(5), 4, 3) == 4
    assert clamp_commit(Matches(2), 9, 3) == 3
    assert clamp_commit(Differs(2), 9, 3) == 3


def test_snapshots_that_bring_nothing_are_known() -> None:
    log = journal(1, 1, 2)
    assert snapshot_is_held(log, 2, 1, 1)
    assert snapshot_is_held(log, 1, 3, 2)
    assert not snapshot_is_held(log, 1, 3, 3)
    assert not snapshot_is_held(log, 1, 9, 2)


def test_a_candidate_needs_a_log_as_new() -> None:
    log = journal(1, 2, 2)
    assert log_is_new_enough(log, 3, 2)
    assert log_is_new_enough(log, 1, 3)
    assert not log_is_new_enough(log, 2, 2)
    assert not log_is_new_enough(log, 9, 1)


@pytest.mark.parametrize("command", [b"", b"\x03x", b"\x03", b"\x00" * (2 << 20)])
def test_entries_of_other_kinds_are_refused(command: bytes) -> None:
    with pytest.raises(Invalid):
        check_entries([(1, command)])


def test_votes_are_counted_by_voter() -> None:
    ballot = Ballot(5)
    ballot.ask(7)
    assert ballot.add(7, "a")
    assert not ballot.add(7, "a")
    assert not ballot.add(6, "b")
    assert not ballot.won
    assert ballot.add(7, "b")
    assert ballot.won


def test_a_heard_leader_is_kept_and_so_is_one_before_a_restart() -> None:
    patience = Patience(0.5, now=10.0)
    assert patience.keeps(10.4)
    assert not patience.keeps(10.6)
    patience.hear(20.0)
    assert patience.keeps(20.4)
    assert not patience.keeps(20.6)


@given(st.data())
def test_a_follower_ends_equal_to_its_leader(data: st.DataObject) -> None:
    common = sorted(data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=5)))
    mine = common + sorted(data.draw(st.lists(st.integers(4, 5), max_size=5)))
    leader = common + sorted(data.draw(st.lists(st.integers(6, 7), max_size=5)))
    log, next_index = journal(*mine), len(leader) + 1
    for _ in range(20):
        previous = (next_index - 1, leader[next_index - 2])
        verdict = receive_entries(log, 1, previous, entries(*leader[next_index - 1 :]))
        if isinstance(verdict, Matches):
            break
        assert verdict.hint < next_index
        next_index = max(2, verdict.hint)
    assert terms(log)[: len(leader)] == leader
