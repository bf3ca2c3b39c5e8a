"""The record of an epoch."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.raft.epochs import Epoch, Epochs, Peer, Place, cluster_id

EPOCH = Epoch("abc", 1, (Peer("a", "a", "127.0.0.1:1"), Peer("b", "b", "127.0.0.1:2")))


def test_the_newest_record_comes_back(tmp_path: Path) -> None:
    epochs = Epochs(str(tmp_path))
    assert epochs.load() is None
    epochs.save(Place(EPOCH))
    second = Epoch("abc", 2, EPOCH.voters[:1], 77, 3, "digest")
    epochs.save(Place(second, observes=True))
    assert epochs.since(0) == [EPOCH, second]
    assert epochs.since(1) == [second]
    assert Epochs(str(tmp_path)).load() == Place(second, observes=True)


@given(st.lists(st.text(), unique=True).flatmap(st.permutations))
def test_the_cluster_id_knows_no_order(ids: list[str]) -> None:
    assert cluster_id(ids) == cluster_id(sorted(ids))
    assert cluster_id([*ids, "one more"]) != cluster_id(ids)


@pytest.mark.parametrize("old", [b"127.0.0.1:1", b'"number": 1', b"{"])
def test_a_changed_record_is_refused_by_name(tmp_path: Path, old: bytes) -> None:
    epochs = Epochs(str(tmp_path))
    epochs.save(Place(EPOCH))
    path = Path(epochs.folder(1), "epoch.json")
    path.write_bytes(path.read_bytes().replace(old, old[:-1] + b"7"))
    with pytest.raises(Invalid, match=r"epoch\.json"):
        epochs.load()
