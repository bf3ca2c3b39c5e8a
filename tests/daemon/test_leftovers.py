"""What a crash leaves in the data directory is no reason to refuse it."""

from pathlib import Path

from mesh.datadir import open_directory


def test_a_crash_while_the_marker_was_written_is_no_foreign_file(tmp_path: Path) -> None:
    (tmp_path / "mesh.json.new").write_text('{"for')
    (tmp_path / "lock").write_text("")
    opened = open_directory(str(tmp_path), "id")
    assert opened.node_id == "id"
    opened.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "mesh.json"]
