"""The simulated disk keeps what was synced, and no more for certain."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mesh.clock import SeededDice
from mesh.raft import journal
from tests.sim.disk import Disk, PowerCut, mount

FLAGS = journal.os.O_WRONLY | journal.os.O_CREAT  # type: ignore[attr-defined]
SEEDS = range(40)


def left(seed: int, *, sync_file: bool, sync_name: bool) -> bytes | None:
    """What a loss of power leaves of a new file; None when not even its name."""
    disk = Disk(SeededDice(seed))
    with mount({"h": disk}):
        system = journal.os  # type: ignore[attr-defined]
        file = system.open("/h/a", FLAGS)
        system.write(file, b"0123456789" * 5)
        if sync_file:
            system.fsync(file)
        if sync_name:
            journal.sync_folder(Path("/h"))
        disk.lose_power()
        return bytes(disk.names["/h/a"].data) if "/h/a" in disk.names else None


def test_what_was_synced_stays() -> None:
    assert {left(seed, sync_file=True, sync_name=True) for seed in SEEDS} == {b"0123456789" * 5}


def test_a_name_without_a_sync_may_go() -> None:
    outcomes = {left(seed, sync_file=True, sync_name=False) for seed in SEEDS}
    assert outcomes == {None, b"0123456789" * 5}


def test_bytes_without_a_sync_come_in_part_or_wrong() -> None:
    outcomes = [left(seed, sync_file=False, sync_name=True) or b"" for seed in SEEDS]
    whole = b"0123456789" * 5
    assert any(one != whole and whole.startswith(one) for one in outcomes), "torn"
    assert any(not whole.startswith(one.rstrip(b"\0")) for one in outcomes), "flipped"
    assert any(one.endswith(b"\0") for one in outcomes), "length before contents"


def test_a_failed_sync_is_told_once_and_loses_pages() -> None:
    lost = 0
    for seed in SEEDS:
        disk = Disk(SeededDice(seed))
        with mount({"h": disk}):
            system = journal.os  # type: ignore[attr-defined]
            file = system.open("/h/a", FLAGS)
            system.write(file, b"x" * 50)
            disk.fails = OSError(errno.EIO, "broken")
            with pytest.raises(OSError, match="broken"):
                system.fdatasync(file)
            system.fdatasync(file)
            lost += bytes(disk.names["/h/a"].data) != b"x" * 50
    assert lost > 10


def test_power_may_fail_at_each_step() -> None:
    disk = Disk(SeededDice(1))
    with mount({"h": disk}):
        system = journal.os  # type: ignore[attr-defined]
        disk.steps_left = 2
        file = system.open("/h/a", FLAGS)
        system.write(file, b"x")
        with pytest.raises(PowerCut):
            system.fsync(file)
