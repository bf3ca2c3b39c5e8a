"""Snapshots on real files, and bytes that are none."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.raft.snapshots import (
    SNAPSHOT_BYTES_MAX,
    Reader,
    Snapshot,
    Snapshots,
    pack_snapshot,
    unpack_snapshot,
)


def test_the_newest_is_kept_and_comes_back(tmp_path: Path) -> None:
    snapshots = Snapshots(str(tmp_path))
    assert snapshots.open() is None
    snapshots.save(Snapshot(5, 1, b"five"))
    snapshots.save(Snapshot(9, 2, b"nine"))
    again = Snapshots(str(tmp_path))
    assert again.open() == Snapshot(9, 2, b"nine")
    assert len(list(tmp_path.iterdir())) == 1


def test_damage_is_refused_by_name(tmp_path: Path) -> None:
    Snapshots(str(tmp_path)).save(Snapshot(5, 1, b"five"))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Invalid, match=path.name):
        Snapshots(str(tmp_path)).open()


def test_a_transfer_must_be_what_was_announced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    source, target = Snapshots(str(tmp_path / "a")), Snapshots(str(tmp_path / "b"))
    source.save(Snapshot(5, 1, b"five" * 100))
    assert source.latest is not None
    reader = Reader(source.latest)
    for index, data, fine in (
        (5, reader.read(0, 999), True),
        (6, reader.read(0, 999), False),
        (5, reader.read(0, reader.size - 1) + b"x", False),
    ):
        incoming = target.incoming(index, 1, reader.size)
        incoming.add(data[:50])
        assert incoming.received == 50
        incoming.add(data[50:])
        assert incoming.whole
        incoming.close()
        if fine:
            assert target.receive(incoming) == Snapshot(5, 1, b"five" * 100)
        else:
            with pytest.raises(Invalid):
                target.receive(incoming)
    with pytest.raises(Invalid, match="longer"):
        target.incoming(5, 1, 100).add(b"x" * 101)
    for size in (3, SNAPSHOT_BYTES_MAX + 1):
        with pytest.raises(Invalid, match="allowed"):
            target.incoming(5, 1, size)
    reader.close()
    assert target.latest is not None
    assert target.latest.index == 5


@given(st.binary(max_size=200))
def test_any_bytes_are_a_snapshot_or_invalid(data: bytes) -> None:
    with pytest.raises(Invalid):
        unpack_snapshot(data)


@given(st.integers(min_value=0), st.binary(max_size=50))
def test_any_flipped_bit_is_found(place: int, data: bytes) -> None:
    packed = bytearray(b"".join(pack_snapshot(Snapshot(3, 2, data))))
    assert unpack_snapshot(bytes(packed)) == Snapshot(3, 2, data)
    packed[place % len(packed)] ^= 1 << (place % 8)
    with pytest.raises(Invalid):
        unpack_snapshot(bytes(packed))
