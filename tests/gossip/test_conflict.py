"""Two nodes of one name: who asks, who answers, and who must end."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.gossip.broadcasts import Broadcasts
from mesh.gossip.conflict import Conflicts, NameLost, answer, decode, encode
from mesh.gossip.intents import Options
from mesh.gossip.members import Member, Status
from mesh.gossip.messages import Alive, encode_tags
from mesh.gossip.pool import Pool
from mesh.gossip.queries import Answer, Answered, Ended, Limits, Queries
from tests.gossip.world import Node, World

GOLDEN = bytes.fromhex(
    "068ba441646472a40a000001ab44656c656761746543757205ab44656c65676174654d617805ab44656c65676174654d"
    "696e02a44e616d65a26e31a4506f7274cd1f0aab50726f746f636f6c43757202ab50726f746f636f6c4d617805ab5072"
    "6f746f636f6c4d696e01a653746174757301a45461677381a161a162"
)
N1 = Member("n1", "10.0.0.1", 7946, {"a": "b"}, Status.ALIVE, 1)


def test_the_bytes_are_serfs() -> None:
    assert encode(N1) == GOLDEN
    assert decode(GOLDEN) == ("10.0.0.1", 7946)
    assert encode(None).hex() == "06c0"
    assert decode(encode(None)) is None


def test_who_has_the_name_does_not_answer() -> None:
    members = {"n1": N1}
    assert answer("n2", b"n1", members.get) == GOLDEN
    assert answer("n2", b"nobody", members.get) == b"\x06\xc0"
    assert answer("n1", b"n1", members.get) is None


class Impostor(Node):
    """Another node called n001, which enters through the last node."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "impostor", "10.9.9.9")
        world.by_address[self.address] = self
        self.join(world.nodes[-1])

    def boot(self) -> None:
        self.pool = Pool("n001", self.world.options, self.world.dice, self.world.now)
        self.pool.enter(self.world.now, self.address, 7946, encode_tags({}))


def claim(node: Node, address: bytes = b"\x0a\x09\x09\x09") -> None:
    node.swim.alive(node.world.now, Alive(1, node.swim.name, address, 7946))
    node.perform()


def test_the_one_the_pool_does_not_know_ends() -> None:
    world = World(1, 5, Options())
    world.settle()
    false = Impostor(world)
    world.run_until(lambda: "name lost" in false.events, 60.0)
    assert all("name lost" not in node.events for node in world.nodes)
    # The right one hears of the other, asks too, and stays.
    claim(world.nodes[1])
    world.run(30.0)
    assert "name lost" not in world.nodes[1].events
    assert any("4 of 4 know this one" in remark for remark in world.nodes[1].remarks)


def test_without_any_vote_nobody_ends() -> None:
    world = World(2, 1, Options())
    claim(world.nodes[0])
    world.run(30.0)
    assert "name lost" not in world.nodes[0].events
    assert any("0 of 0 know this one" in remark for remark in world.nodes[0].remarks)


def test_an_operator_may_forbid_it() -> None:
    world = World(3, 4, Options(resolve_conflicts=False))
    world.settle()
    false = Impostor(world)
    world.run(60.0)
    assert "name lost" not in false.events


def test_one_vote_at_a_time_and_then_a_pause() -> None:
    world = World(4, 3, Options())
    world.settle()
    node = world.nodes[0]
    start = node.pool.queries.clock.time
    for _ in range(10):
        claim(node)
    assert node.pool.queries.clock.time == start + 1
    world.run(5.0)
    claim(node)
    assert node.pool.queries.clock.time == start + 1
    world.run(15.0)
    claim(node)
    assert node.pool.queries.clock.time == start + 2


def test_a_loss_says_what_to_do() -> None:
    world = World(5, 4, Options())
    world.settle()
    queries = Queries(world.nodes[1].swim, Broadcasts(4, len), Limits(), list)
    conflicts = Conflicts(world.nodes[1].swim, queries, resolve=True)
    conflicts.claimed(0.0)
    time = queries.clock.time - 1
    assert conflicts.is_about(time)
    for source, payload in (("a", GOLDEN), ("b", GOLDEN), ("c", encode(None))):
        assert conflicts.hear(0.0, Answered(time, Answer(source, payload))) is None
    lost = conflicts.hear(1.0, Ended(time))
    assert lost == NameLost(
        "n001 is another node for 2 of 2 members that were asked, this one is at "
        f"{world.nodes[1].address}:7946: give this node a name of its own"
    )


@given(st.binary(max_size=200))
def test_any_bytes_raise_invalid_only(data: bytes) -> None:
    for payload in (data, b"\x06" + data):
        with contextlib.suppress(Invalid):
            decode(payload)


@pytest.mark.parametrize("payload", [b"", b"\x05\x80", b"\x06\x80"])
def test_what_is_no_answer_is_refused(payload: bytes) -> None:
    with pytest.raises(Invalid):
        decode(payload)
