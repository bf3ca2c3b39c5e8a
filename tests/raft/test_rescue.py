"""A majority is lost for good: an operator goes on from what one server holds."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.errors import Invalid, NotFound
from mesh.raft.epochs import Epochs, Peer
from mesh.raft.rescue import rescue, survey
from tests.raft.cluster import until
from tests.raft.test_membership import Site, epoch_of, voters_of

NOBODY = Peer("id-x", "", "")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    yield made
    for name in list(made.servers):
        await made.stop(name)


async def test_one_goes_on_alone_and_the_others_join_again(site: Site, tmp_path: Path) -> None:
    await site.found("a", "b", "c")
    await site.write("1", "2")
    await site.all_hold("1", "2")
    for name in "abc":
        await site.stop(name)
    folder = str(tmp_path / "a")
    before = survey(folder)
    epoch = rescue(folder, site.peers["a"], [], "lost b and c")
    assert (epoch.number, epoch.start_index, epoch.recovered) == (2, before.index, True)
    await site.start("a")
    await site.write("3")
    for name in "bc":
        await site.start(name)
    await site.change("a", "b", "c")
    await site.write("4")
    await site.all_hold("1", "2", "3", "4")
    await site.voters_are("a", "b", "c")


async def test_two_of_five_go_on(site: Site, tmp_path: Path) -> None:
    await site.found("a", "b", "c", "d", "e")
    await site.write("1")
    await site.all_hold("1")
    for name in "abcde":
        await site.stop(name)
    rescue(str(tmp_path / "a"), site.peers["a"], ["b"], "lost three")
    for name in "ab":
        await site.start(name)
    await site.write("2")
    await site.all_hold("1", "2")
    assert voters_of(site.servers["b"]) == ["a", "b"]
    assert epoch_of(site.servers["b"]) == 2


async def test_recovering_twice_apart_keeps_them_apart(site: Site, tmp_path: Path) -> None:
    await site.found("a", "b", "c")
    await site.write("1")
    await site.all_hold("1")
    for name in "abc":
        await site.stop(name)
    rescue(str(tmp_path / "a"), site.peers["a"], [], "by one operator")
    rescue(str(tmp_path / "b"), site.peers["b"], [], "by another")
    a, b = await site.start("a"), await site.start("b")

    async def refused() -> bool:
        site.introduce()
        return all(one.node.counters["refused"] > 0 for one in (a, b))

    await until(refused)
    await a.node.propose(b"only on a")
    assert b"only on a" not in b.machine.commands
    assert a.node.is_leader
    assert b.node.is_leader


async def test_what_cannot_be_recovered_says_why(site: Site, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="holds no log"):
        survey(str(tmp_path / "empty"))
    await site.found("a")
    await site.write("1")
    await site.stop("a")
    folder = str(tmp_path / "a")
    with pytest.raises(NotFound, match="z is no voter of this epoch; those are a"):
        rescue(folder, site.peers["a"], ["z"], "")
    with pytest.raises(Invalid, match="had no vote: give its name"):
        rescue(folder, NOBODY, [], "")
    rescue(folder, site.peers["a"], [], "once")
    rescue(folder, site.peers["a"], [], "and again")
    again = await site.start("a")
    assert epoch_of(again) == 3
    await site.write("2")
    await site.all_hold("1", "2")


async def test_a_learner_is_recovered_from_when_nobody_else_is_left(
    site: Site, tmp_path: Path
) -> None:
    await site.found("a")
    await site.write("1")
    await site.change("a")
    await site.start("b")
    await site.all_hold("1")
    for name in "ab":
        await site.stop(name)
    epochs = Epochs(str(tmp_path / "b"))
    place = epochs.load()
    assert place is not None
    assert place.epoch.number == 2
    recovered = rescue(str(tmp_path / "b"), site.peers["b"], [], "only the learner is left")
    assert [voter.name for voter in recovered.voters] == ["b"]
    await site.start("b")
    await site.write("2")
    await site.all_hold("1", "2")
