"""The owner of a journal: nobody else may go on from it."""

from pathlib import Path

import pytest

from mesh.errors import Invalid
from mesh.raft.owner import check_owner, claim


def test_a_journal_belongs_to_who_claimed_it_first(tmp_path: Path) -> None:
    journal = tmp_path / "epoch" / "journal"
    check_owner(journal, "a")
    claim(journal, "a")
    claim(journal, "b")
    check_owner(journal, "a")
    before = {path.name: path.read_bytes() for path in journal.iterdir()}
    with pytest.raises(Invalid, match=f"{journal}.*journal of node a, and this node is b"):
        check_owner(journal, "b")
    assert {path.name: path.read_bytes() for path in journal.iterdir()} == before
    assert list(before) == ["owner.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "damaged"),
        ("{}", "damaged"),
        ('{"format": 2, "node": "a"}', "newer mesh"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "owner.json").write_text(text)
    with pytest.raises(Invalid, match=f"owner.json: .*{words}"):
        check_owner(tmp_path, "a")
