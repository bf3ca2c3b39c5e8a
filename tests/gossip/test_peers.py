"""Peers: the order in which members are drawn."""

import collections

from hypothesis import given
from hypothesis import strategies as st

from mesh.clock import SeededDice
from mesh.gossip.peers import Order, Peer, Table


def draw_round(order: Order, dice: SeededDice) -> list[str]:
    names = []
    while (name := order.draw(dice)) is not None:
        names.append(name)
    return names


def test_each_comes_once_a_round_and_rounds_differ() -> None:
    order, dice = Order([str(number) for number in range(30)]), SeededDice(1)
    rounds = [draw_round(order, dice) for _ in range(5)]
    assert all(sorted(one) == sorted(rounds[0]) for one in rounds)
    assert len({tuple(one) for one in rounds}) == 5


def test_every_place_in_a_round_is_as_likely() -> None:
    order, dice = Order(list("abcd")), SeededDice(2)
    firsts = collections.Counter(draw_round(order, dice)[0] for _ in range(4000))
    assert all(900 < firsts[name] < 1100 for name in "abcd")


STEPS = st.lists(
    st.integers(0, 20) | st.sets(st.integers(0, 20), min_size=1, max_size=3) | st.none()
)


@given(STEPS, st.integers(0, 5))
def test_whoever_comes_and_goes_nobody_is_drawn_twice_or_left_out(
    steps: list[int | set[int] | None], seed: int
) -> None:
    order, dice = Order([]), SeededDice(seed)
    members, rest = set[str](), set[str]()
    for step in steps:
        if step is None:
            name = order.draw(dice)
            assert (name is None) == (not rest)
            rest = set(members) if name is None else rest - {name}
        elif isinstance(step, set):
            gone = {str(number) for number in step}
            order.remove(gone)
            members -= gone
            rest -= gone
        elif str(step) not in members:
            order.add(str(step))
            members.add(str(step))
            rest.add(str(step))
        assert len(order) == len(members)
    assert set(draw_round(order, dice)) == rest


def test_a_table_gives_what_may_be_changed() -> None:
    table: Table[Peer] = Table()
    table["a"] = Peer("a")
    assert table.own("a") is table["a"]


def test_a_peer_has_its_address_as_text() -> None:
    peer = Peer("a")
    peer.place(bytes(10) + b"\xff\xff\x0a\0\0\1", 80)
    assert (peer.host, peer.port) == ("10.0.0.1", 80)
