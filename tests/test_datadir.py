"""Whose data directory it is: mesh's, another program's, or another process'."""

import os
from pathlib import Path

import pytest

from mesh.datadir import open_directory
from mesh.errors import Conflict, Invalid


def test_the_node_id_stays(tmp_path: Path) -> None:
    first = open_directory(str(tmp_path / "new" / "deep"), "id-1")
    first.close()
    again = open_directory(str(tmp_path / "new" / "deep"), "id-2")
    assert again.node_id == "id-1"
    again.close()


def test_two_processes_cannot_share_it(tmp_path: Path) -> None:
    first = open_directory(str(tmp_path), "id")
    with pytest.raises(Conflict, match="another mesh process"):
        open_directory(str(tmp_path), "id")
    first.close()


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(Conflict, match=r"photo\.jpg"):
        open_directory(str(tmp_path), "id")
    assert sorted(os.listdir(tmp_path)) == ["photo.jpg"]


def test_a_damaged_or_newer_marker_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mesh.json").write_text("{")
    with pytest.raises(Invalid, match="damaged"):
        open_directory(str(tmp_path), "id")
    (tmp_path / "mesh.json").write_text('{"format": 99, "node_id": "x"}')
    with pytest.raises(Invalid, match="newer mesh"):
        open_directory(str(tmp_path), "id")


def test_a_path_that_cannot_be_a_directory_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Conflict, match="cannot be used"):
        open_directory(str(tmp_path / "file" / "sub"), "id")


def test_an_older_program_does_not_open_what_a_higher_level_wrote(tmp_path: Path) -> None:
    opened = open_directory(str(tmp_path), "id", 3)
    before = (tmp_path / "mesh.json").read_bytes()
    opened.raise_level(1)
    assert (tmp_path / "mesh.json").read_bytes() == before
    opened.raise_level(3)
    opened.raise_level(2)
    opened.close()
    written = (tmp_path / "mesh.json").read_bytes()
    with pytest.raises(Invalid, match=r"written by a newer mesh \(level 3\); upgrade mesh"):
        open_directory(str(tmp_path), "id", 2)
    assert (tmp_path / "mesh.json").read_bytes() == written
    again = open_directory(str(tmp_path), "other", 3)
    assert again.node_id == "id"
    again.close()
