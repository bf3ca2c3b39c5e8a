"""Snapshots on real files, and bytes that are none."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.raft.snapshots import (
    PIECE_BYTES_MAX,
    SNAPSHOT_BYTES_MAX,
    Reader,
    Snapshots,
    Stored,
    verify,
)

here = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def contents(stored: Stored | None) -> tuple[int, int, list[bytes]]:
    assert stored is not None
    return stored.index, stored.term, list(stored.pieces())


def saved(folder: Path, *pieces: bytes) -> Path:
    return Snapshots(str(folder)).save(5, 1, pieces).path


def test_the_newest_is_kept_and_comes_back(tmp_path: Path) -> None:
    snapshots = Snapshots(str(tmp_path))
    assert snapshots.open() is None
    snapshots.save(5, 1, [b"five"])
    newest = snapshots.save(9, 2, [b"nine", b"x" * 600_000, b"!"])
    assert newest.size == newest.path.stat().st_size
    again = Snapshots(str(tmp_path))
    assert contents(again.open()) == (9, 2, [b"nine", b"x" * 600_000, b"!"])
    assert again.latest == newest
    assert len(list(tmp_path.iterdir())) == 1


def test_an_older_one_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    snapshots = Snapshots(str(tmp_path))
    snapshots.save(9, 2, [b"nine"])
    snapshots.save(5, 1, [b"five"])
    assert (
        contents(snapshots.latest) == contents(Snapshots(str(tmp_path)).open()) == (9, 2, [b"nine"])
    )


def test_what_a_crash_left_half_written_is_no_snapshot(tmp_path: Path) -> None:
    saved(tmp_path, b"five")
    (tmp_path / "own.part").write_bytes(b"MESHSNP1 and no more")
    (tmp_path / "incoming.part").write_bytes(b"")
    snapshots = Snapshots(str(tmp_path))
    assert contents(snapshots.open()) == (5, 1, [b"five"])
    snapshots.save(6, 1, [b"six"])
    assert contents(Snapshots(str(tmp_path)).open()) == (6, 1, [b"six"])


def test_damage_is_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path, b"five")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Invalid, match=f"{path.name}.*checksum.*restore this server"):
        Snapshots(str(tmp_path)).open()


def test_a_later_format_is_told_from_damage(tmp_path: Path) -> None:
    path = saved(tmp_path, b"five")
    path.write_bytes(path.read_bytes().replace(b"MESHSNP1", b"MESHSNP2"))
    with pytest.raises(Invalid, match=r"format b'2', this program knows b'1'"):
        Snapshots(str(tmp_path)).open()


@here
@given(pieces=st.lists(st.binary(min_size=1, max_size=20), max_size=4), data=st.data())
def test_a_torn_file_is_found_wherever_it_ends(
    tmp_path: Path, pieces: list[bytes], data: st.DataObject
) -> None:
    path = saved(tmp_path, *pieces)
    whole = path.read_bytes()
    assert contents(verify(path)) == (5, 1, pieces)
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(Invalid):
        verify(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(Invalid, match="checksum"):
        verify(path)


@here
@given(place=st.integers(min_value=0), pieces=st.lists(st.binary(min_size=1, max_size=20)))
def test_any_flipped_bit_is_found(tmp_path: Path, place: int, pieces: list[bytes]) -> None:
    path = saved(tmp_path, *pieces)
    packed = bytearray(path.read_bytes())
    packed[place % len(packed)] ^= 1 << (place % 8)
    path.write_bytes(packed)
    with pytest.raises(Invalid):
        verify(path)


@here
@given(data=st.binary(max_size=200), magic=st.sampled_from([b"", b"MESHSNP1"]))
def test_any_bytes_are_a_snapshot_or_invalid(tmp_path: Path, data: bytes, magic: bytes) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(magic + data)
    with pytest.raises(Invalid):
        verify(path)


def test_a_huge_length_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path, b"five")
    whole = path.read_bytes()
    place = whole.index(b"\0\0\0\x04five")
    path.write_bytes(whole[:place] + (PIECE_BYTES_MAX + 1).to_bytes(4, "big") + whole[place + 4 :])
    with pytest.raises(Invalid, match="over the limit"):
        verify(path)


def test_a_transfer_must_be_what_was_announced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    source, target = Snapshots(str(tmp_path / "a")), Snapshots(str(tmp_path / "b"))
    reader = Reader(source.save(5, 1, [b"five" * 100]))
    for index, data, fine in (
        (6, reader.read(0, 999), False),
        (5, reader.read(0, reader.size - 1) + b"x", False),
        (5, reader.read(0, 999), True),
    ):
        incoming = target.incoming(index, 1, reader.size)
        incoming.add(data[:50])
        assert incoming.received == 50
        incoming.add(data[50:])
        assert incoming.whole
        incoming.close()
        if fine:
            assert contents(target.check(incoming)) == (5, 1, [b"five" * 100])
            assert target.latest is None  # Checked is not yet adopted.
            assert target.adopt(target.check(incoming)) == target.latest
        else:
            with pytest.raises(Invalid):
                target.check(incoming)
    reader.close()
    assert contents(Snapshots(str(tmp_path / "b")).open()) == (5, 1, [b"five" * 100])


def test_a_transfer_has_limits(tmp_path: Path) -> None:
    target = Snapshots(str(tmp_path))
    with pytest.raises(Invalid, match="longer"):
        target.incoming(5, 1, 100).add(b"x" * 101)
    for size in (3, SNAPSHOT_BYTES_MAX + 1):
        with pytest.raises(Invalid, match="allowed"):
            target.incoming(5, 1, size)


def test_much_unsynced_data_never_piles_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single sync of a gigabyte would hold up those of the journal beside it."""
    sizes: list[int] = []
    sync = os.fdatasync

    def noting(file: int) -> None:
        sizes.append(os.fstat(file).st_size)
        sync(file)

    monkeypatch.setattr(os, "fdatasync", noting)
    saved(tmp_path, *([b"x" * (1 << 20)] * 20))
    assert len(sizes) >= 2
    assert sizes[0] < 10 << 20
