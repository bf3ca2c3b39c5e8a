"""The journal on real files: what was stored comes back, torn tails go, damage is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.raft.journal import (
    _MARK_DATA,
    ENTRY,
    MAGIC,
    MARK,
    SLICE_ENTRIES_MAX,
    Journal,
    Record,
    Segments,
    pack_record,
    unpack_record,
)


def reopen(folder: Path, segment_bytes: int = 1 << 20) -> tuple[Journal, Segments]:
    journal, segments = Journal(), Segments(str(folder), segment_bytes)
    journal.replay(segments.open(fresh=not list(folder.glob("*"))))
    return journal, segments


def store(journal: Journal, segments: Segments) -> None:
    segments.store(journal.take())
    journal.stored()


def filled(folder: Path, count: int, segment_bytes: int = 1 << 20) -> tuple[Journal, Segments]:
    journal, segments = reopen(folder, segment_bytes)
    for index in range(1, count + 1):
        journal.append(b"command %d" % index, index, 1)
        store(journal, segments)
    return journal, segments


def test_what_was_stored_comes_back(tmp_path: Path) -> None:
    journal, segments = filled(tmp_path / "j", 5)
    journal.set_term(7, "somebody")
    journal.delete_from(4)
    journal.append(b"another", 4, 7)
    store(journal, segments)
    segments.close()
    again, segments = reopen(tmp_path / "j")
    assert again.entries == journal.entries
    assert (again.term, again.vote, again.durable_index) == (7, "somebody", 4)
    segments.close()


def test_a_new_segment_knows_term_and_vote(tmp_path: Path) -> None:
    journal, segments = reopen(tmp_path / "j", 100)
    journal.set_term(3, "somebody")
    journal.append(b"x" * 200, 1, 3)
    store(journal, segments)
    for index in range(2, 6):
        journal.append(b"x" * 200, index, 3)
        store(journal, segments)
    assert len(list((tmp_path / "j").iterdir())) == 5
    journal.delete_to(5)
    store(journal, segments)
    segments.drop_below(journal.first_index)
    segments.close()
    assert len(list((tmp_path / "j").iterdir())) == 2
    again, segments = reopen(tmp_path / "j", 100)
    assert (again.term, again.vote, again.last_index) == (3, "somebody", 5)
    segments.close()


def crash(segments: Segments) -> None:
    """End as a kill would: without the mark of a clean end."""
    segments._synced = False
    segments.close()


@pytest.mark.parametrize("cut", [1, 10, 25, 30])
def test_a_torn_tail_is_cut(tmp_path: Path, cut: int) -> None:
    _, segments = filled(tmp_path / "j", 5)
    crash(segments)
    (path,) = (tmp_path / "j").iterdir()
    path.write_bytes(path.read_bytes()[:-cut])
    journal, segments = reopen(tmp_path / "j")
    assert [entry[1] for entry in journal.entries] == [1, 2, 3, 4]
    journal.append(b"new", 5, 2)
    store(journal, segments)
    segments.close()
    journal, segments = reopen(tmp_path / "j")
    assert journal.entries[-1] == (b"new", 5, 2)
    segments.close()


@pytest.mark.parametrize(
    "left",
    [b"", MAGIC[:3], bytes(20), b"?" + MAGIC[1:], MAGIC, MAGIC + b"\0" * 9],
    ids=["nothing", "begun", "zeros", "flipped", "without-term", "torn-term"],
)
def test_a_segment_torn_while_it_was_made_is_made_again(tmp_path: Path, left: bytes) -> None:
    journal, segments = filled(tmp_path / "j", 3)
    journal.set_term(4, "somebody")
    store(journal, segments)
    segments.close()
    (tmp_path / "j" / "000000000002.journal").write_bytes(left)
    journal, segments = reopen(tmp_path / "j")
    assert journal.last_index == 3
    journal.append(b"next", 4, 4)
    journal.delete_to(4)
    store(journal, segments)
    segments.drop_below(4)
    segments.close()
    again, segments = reopen(tmp_path / "j")
    assert (again.term, again.vote, again.last_index) == (4, "somebody", 4)
    segments.close()


def test_damage_at_the_beginning_of_the_last_segment_is_no_torn_tail(tmp_path: Path) -> None:
    _, segments = filled(tmp_path / "j", 3)
    segments.close()
    (path,) = (tmp_path / "j").iterdir()
    for place in (0, len(MAGIC) + 3):
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)
        with pytest.raises(Invalid, match=path.name):
            reopen(tmp_path / "j")
        assert path.read_bytes() == data


def test_damage_in_a_sealed_segment_is_refused_and_left_alone(tmp_path: Path) -> None:
    _, segments = filled(tmp_path / "j", 5, segment_bytes=100)
    segments.close()
    path = min((tmp_path / "j").iterdir())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    before = {each: each.read_bytes() for each in (tmp_path / "j").iterdir()}
    with pytest.raises(Invalid, match=path.name):
        reopen(tmp_path / "j")
    assert {each: each.read_bytes() for each in (tmp_path / "j").iterdir()} == before


@pytest.mark.parametrize("clean", [True, False])
def test_no_flipped_bit_in_the_last_segment_drops_what_was_acknowledged(
    tmp_path: Path, clean: bool
) -> None:
    written, segments = filled(tmp_path / "j", 4)
    (segments.close if clean else lambda: crash(segments))()
    (path,) = (tmp_path / "j").iterdir()
    good = path.read_bytes()
    outcomes = set()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        path.write_bytes(bad)
        try:
            journal, segments = reopen(tmp_path / "j")
        except Invalid as error:
            named = str(path) in error.message
            outcomes.add("refused" if named and path.read_bytes() == bad else error.message)
            continue
        crash(segments)
        # Only the last thing written can be taken for torn: the mark, or one unmarked batch.
        least = 4 if clean else 3
        assert journal.entries == written.entries[: max(least, journal.last_index)]
        outcomes.add(f"{journal.last_index} of 4")
    assert outcomes == ({"refused", "4 of 4"} if clean else {"refused", "3 of 4"})


def test_a_value_like_a_mark_makes_no_damage_of_a_torn_tail(tmp_path: Path) -> None:
    journal, segments = filled(tmp_path / "j", 1)
    journal.append(pack_record(Record(MARK, 7, 0, _MARK_DATA)), 2, 1)
    store(journal, segments)
    crash(segments)
    (path,) = (tmp_path / "j").iterdir()
    data = bytearray(path.read_bytes())
    data[data.rindex(_MARK_DATA) - 60] ^= 1  # In the header of the entry that holds it.
    path.write_bytes(data)
    journal, segments = reopen(tmp_path / "j")
    assert journal.last_index == 1
    segments.close()


def test_a_journal_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    _, segments = filled(tmp_path / "j", 3)
    segments.close()
    (path,) = (tmp_path / "j").iterdir()
    newer = b"MESHJNL2" + path.read_bytes()[8:]
    path.write_bytes(newer)
    with pytest.raises(Invalid, match="journal format 2"):
        reopen(tmp_path / "j")
    assert path.read_bytes() == newer


def test_a_missing_segment_is_refused(tmp_path: Path) -> None:
    _, segments = filled(tmp_path / "j", 9, segment_bytes=100)
    segments.close()
    sorted((tmp_path / "j").iterdir())[1].unlink()
    with pytest.raises(Invalid, match="missing"):
        reopen(tmp_path / "j")


def test_no_journal_where_there_was_one_is_refused(tmp_path: Path) -> None:
    journal, segments = Journal(), Segments(str(tmp_path / "j"))
    with pytest.raises(Invalid, match="missing"):
        journal.replay(segments.open(fresh=False))
    assert not (tmp_path / "j").exists()


@pytest.mark.parametrize(
    ("count", "size", "first"), [(100, 1000, 1), (3, 1000, 7), (100, 25, 8), (0, 1000, 10)]
)
def test_what_stays_is_limited_by_entries_and_bytes(count: int, size: int, first: int) -> None:
    journal = Journal()
    for index in range(1, 13):
        journal.append(b"ten bytes!", index, 1)
    assert journal.keep_from(10, count, size) == first


def test_only_what_was_stored_counts_as_durable() -> None:
    journal = Journal()
    journal.append(b"a", 1, 1)
    journal.append(b"b", 2, 1)
    journal.take()
    journal.append(b"c", 3, 1)
    journal.delete_from(2)
    journal.append(b"d", 2, 2)
    journal.stored()
    assert journal.durable_index == 1
    journal.take()
    journal.stored()
    assert journal.durable_index == 2


@given(
    st.binary(max_size=200) | st.builds(pack_record, st.just(Record(ENTRY, 5, 2, b"data"))),
    st.integers(0, 300),
)
def test_any_bytes_are_a_record_or_invalid(data: bytes, offset: int) -> None:
    try:
        _, end = unpack_record(data, offset)
        assert offset < end <= len(data)
    except Invalid:
        pass


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.binary(max_size=100))
def test_records_come_back(index: int, term: int, data: bytes) -> None:
    record = Record(ENTRY, index, term, data)
    packed = pack_record(record)
    assert unpack_record(packed, 0) == (record, len(packed))


@given(st.integers(min_value=0), st.binary(min_size=1, max_size=50))
def test_any_flipped_bit_is_found(place: int, data: bytes) -> None:
    packed = bytearray(pack_record(Record(ENTRY, 1, 1, data)))
    packed[place % len(packed)] ^= 1 << (place % 8)
    with pytest.raises(Invalid):
        unpack_record(bytes(packed), 0)


def test_a_slice_has_a_limit_of_entries_too() -> None:
    journal = Journal()
    for index in range(1, SLICE_ENTRIES_MAX + 10):
        journal.append(b"x", index, 1)
    assert len(journal.slice(1, 1 << 20)) == SLICE_ENTRIES_MAX
    assert [index for _, index, _ in journal.slice(3, 2)] == [3, 4]
