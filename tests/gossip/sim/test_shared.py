"""Shared tables behave as plain ones, and leave what is shared alone."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.clock import SeededDice
from mesh.gossip.peers import Order, Peer, Table
from tests.gossip.sim.shared import Overlay, Sparse

NAMES = st.sampled_from("abcdef")
STEPS = st.lists(st.tuples(st.sampled_from(["put", "pop", "own", "del"]), NAMES), max_size=30)


def table(names: str) -> Table[Peer]:
    made: Table[Peer] = Table()
    for name in names:
        made[name] = Peer(name)
    return made


def view(made: Table[Peer]) -> dict[str, int]:
    assert len(made) == len(list(made)) == len(made.items()) == len(made.values())
    for name in "abcdef":
        assert (made.get(name) is None) == (name not in made)
    return {name: made[name].incarnation for name in made}


@given(STEPS)
def test_an_overlay_is_a_table(steps: list[tuple[str, str]]) -> None:
    base, plain = table("abc"), table("abc")
    overlay = Overlay(base)
    for number, (verb, name) in enumerate(steps):
        for made in (plain, overlay):
            if verb == "put":
                made[name] = Peer(name)
            elif verb == "own" and name in made:
                made.own(name).incarnation = number
            elif verb == "pop":
                made.pop(name, None)
            elif verb == "del" and name in made:
                del made[name]
        assert view(overlay) == view(plain)
    assert view(base) == dict.fromkeys("abc", 0)


@given(st.lists(st.none() | NAMES, max_size=40), st.integers(0, 9))
def test_a_sparse_order_draws_as_a_plain_one(steps: list[str | None], seed: int) -> None:
    base = ["me", "x", "y", "z"]
    orders = Order(["z", "x", "y"]), Order(Sparse(base, 0))
    dice = SeededDice(seed), SeededDice(seed)
    for step in steps:
        if step is None:
            drawn = [one.draw(its) for one, its in zip(orders, dice, strict=True)]
            assert drawn[0] == drawn[1]
        elif step in "ab":
            for one in orders:
                one.remove({"x"})
        else:
            for one in orders:
                one.add(step)
    assert base == ["me", "x", "y", "z"]
