"""What connections were judged by is there for the next agent, or nothing is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.connect.xds.marks import Marks
from mesh.connect.xds.reach import EVERYBODY, Judged

ONE, TWO = Judged("1", EVERYBODY), Judged("2", EVERYBODY)


def test_the_last_is_found(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "judged")
    assert marks.find("web") is None
    marks.keep("web", ONE)
    marks.keep("web", TWO)
    assert Marks(tmp_path / "judged").find("web") == TWO
    marks.forget("web")
    assert marks.find("web") is None
    assert list((tmp_path / "judged").iterdir()) == []


def test_what_cannot_be_read_or_written_is_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    marks = Marks(tmp_path)
    marks.keep("web", ONE)
    (file,) = tmp_path.iterdir()
    file.with_suffix(".new").mkdir()
    marks.keep("web", TWO)
    assert marks.find("web") is None
    assert "when the agent starts anew they end" in caplog.text
    file.write_bytes(b"?")
    assert marks.find("web") is None


def test_without_a_folder_nothing_is_kept() -> None:
    marks = Marks(None)
    marks.keep("web", ONE)
    assert marks.find("web") is None
