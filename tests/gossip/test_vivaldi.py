"""Coordinates: Serf's bytes, estimates that come near the truth, and no harm from bad values."""

import contextlib
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.clock import SeededDice
from mesh.errors import Invalid
from mesh.gossip.options import Options
from mesh.gossip.pool import Pool
from mesh.gossip.vivaldi import (
    HEIGHT_MIN,
    Coordinate,
    Vivaldi,
    decode,
    encode,
    estimate,
)

GOLDEN = bytes.fromhex(
    "0184aa41646a7573746d656e74cb0000000000000000a54572726f72cb3ff8000000000000a6486569676874cb3e"
    "e4f8b588e368f1a356656398" + "cb0000000000000000" * 8
)


def place(*vec: float, height: float = 0.0, adjustment: float = 0.0) -> Coordinate:
    return Coordinate((*vec, *[0.0] * (8 - len(vec))), 1.5, adjustment, height)


def test_the_bytes_are_serfs() -> None:
    assert encode(Coordinate()) == GOLDEN
    assert decode(GOLDEN) == Coordinate()
    far = place(0.25, -1.5, height=0.125, adjustment=-0.5)
    assert decode(encode(far)) == far


def test_the_estimate_is_distance_heights_and_adjustments() -> None:
    one, other = place(0.003, height=0.001), place(0.0, 0.004, height=0.002)
    assert estimate(one, other) == pytest.approx(0.008)
    adjusted = place(0.003, height=0.001, adjustment=-0.002)
    assert estimate(adjusted, other) == pytest.approx(0.006)
    # An adjustment that leaves nothing does not count.
    assert estimate(place(0.003, height=0.001, adjustment=-1.0), other) == pytest.approx(0.008)


def test_one_step_follows_the_formulas() -> None:
    node = Vivaldi(SeededDice(1))
    node.here = place(0.1, height=0.01)
    other = Coordinate(place().vec, 0.5, 0.0, 0.02)
    node.observe("other", 0.2, other)
    weight = 1.5 / 2.0
    distance = 0.1 + 0.03
    force = 0.25 * weight * (0.2 - distance)
    height = 0.01 + 0.03 * force / 0.1
    error = 0.25 * weight * (0.07 / 0.2) + 1.5 * (1 - 0.25 * weight)
    assert node.here.error == pytest.approx(error)
    moved = 0.1 + force
    adjustment = (0.2 - (moved + height + 0.02)) / 40
    assert node.here.adjustment == pytest.approx(adjustment)
    # Gravity is slight.
    assert node.here.vec[0] == pytest.approx(moved, rel=1e-4)
    assert node.here.vec[0] < moved
    assert node.here.height == pytest.approx(height, rel=1e-4)


def test_two_nodes_at_one_place_are_driven_apart() -> None:
    node = Vivaldi(SeededDice(1))
    node.observe("other", 0.1, Coordinate())
    assert math.hypot(*node.here.vec) > 0.01
    assert node.here.height == HEIGHT_MIN


def test_a_single_slow_answer_moves_nothing_much() -> None:
    calm, shaken = Vivaldi(SeededDice(1)), Vivaldi(SeededDice(1))
    other = place(0.02, height=0.001)
    for number in range(30):
        calm.observe("other", 0.02, other)
        shaken.observe("other", 5.0 if number == 20 else 0.02, other)
    assert shaken.here == calm.here


def spread(latencies: list[list[float]], rounds: int) -> list[Vivaldi]:
    dice = SeededDice(7)
    nodes = [Vivaldi(SeededDice(number)) for number in range(len(latencies))]
    for _ in range(rounds):
        for one, row in enumerate(latencies):
            other = (one + 1 + dice.below(len(row) - 1)) % len(row)
            noise = dice.uniform(0.95, 1.05)
            nodes[one].observe(f"n{other}", row[other] * noise, nodes[other].here)
    return nodes


def median_error(nodes: list[Vivaldi], latencies: list[list[float]]) -> float:
    return statistics.median(
        abs(estimate(nodes[one].here, nodes[other].here) - rtt) / rtt
        for one, row in enumerate(latencies)
        for other, rtt in enumerate(row)
        if one != other
    )


def test_estimates_come_near_the_truth() -> None:
    # Three datacenters, 10 to 80 ms apart, with links of their own of 1 to 3 ms.
    dice = SeededDice(3)
    centers = [(0.0, 0.0), (0.08, 0.0), (0.01, 0.05)]
    places = [centers[number % 3] for number in range(30)]
    links = [dice.uniform(0.0005, 0.0015) for _ in places]
    latencies = [
        [math.dist(a, b) + links[i] + links[j] for j, b in enumerate(places)]
        for i, a in enumerate(places)
    ]
    nodes = spread(latencies, 400)
    assert median_error(nodes, latencies) < 0.1
    assert statistics.median(node.here.error for node in nodes) < 0.3
    assert all(node.resets == 0 for node in nodes)
    # Before it knows anything it is far off: the bound above says something.
    assert median_error(spread(latencies, 1), latencies) > 0.5


@pytest.mark.parametrize("seconds", [-0.1, 10.1, math.nan, math.inf])
def test_round_trips_out_of_range_change_nothing(seconds: float) -> None:
    node = Vivaldi(SeededDice(1))
    with pytest.raises(Invalid, match="round trip"):
        node.observe("other", seconds, place(1.0))
    assert (node.here, node.others) == (Coordinate(), {})


@pytest.mark.parametrize(
    "bad",
    [
        Coordinate((0.0,) * 7),
        place(math.nan),
        place(math.inf),
        place(height=math.nan),
        Coordinate(error=math.inf),
    ],
)
def test_places_that_make_no_sense_change_nothing(bad: Coordinate) -> None:
    node = Vivaldi(SeededDice(1))
    with pytest.raises(Invalid, match="eight dimensions of finite numbers"):
        node.observe("other", 0.1, bad)
    with pytest.raises(Invalid):
        node.heard("other", 0.1, encode(bad))
    assert (node.here, node.others) == (Coordinate(), {})


def test_a_place_that_went_wrong_begins_anew_at_the_origin() -> None:
    node = Vivaldi(SeededDice(1))
    node.observe("other", 0.1, place(1e308, -1e308, 1e308))
    assert (node.here, node.resets) == (Coordinate(), 1)
    node.observe("other", 0.1, place(0.1))
    assert node.here != Coordinate()


def test_acks_carry_it_and_none_is_fine() -> None:
    one, two = Vivaldi(SeededDice(1)), Vivaldi(SeededDice(2))
    one.heard("two", 0.01, two.payload())
    assert one.others == {"two": Coordinate()}
    one.heard("three", 0.01, b"")
    with pytest.raises(Invalid, match="only version 1"):
        one.heard("three", 0.01, b"\x02" + GOLDEN[1:])
    assert set(one.others) == {"two"}
    one.forget("two")
    assert one.others == {}


@given(st.binary(max_size=150))
def test_any_bytes_raise_invalid_only(data: bytes) -> None:
    for payload in (data, b"\x01" + data):
        with contextlib.suppress(Invalid):
            Vivaldi(SeededDice(1)).heard("x", 0.1, payload)


@given(st.data())
def test_changed_bytes_raise_invalid_only(data: st.DataObject) -> None:
    changed = bytearray(GOLDEN)
    changed[data.draw(st.integers(0, len(GOLDEN) - 1))] = data.draw(st.integers(0, 255))
    node = Vivaldi(SeededDice(1))
    with contextlib.suppress(Invalid):
        node.heard("x", 0.1, bytes(changed))
    assert all(map(math.isfinite, node.here.vec))


@pytest.mark.parametrize("told", [True, False])
def test_a_node_that_is_not_to_tell_its_place_acknowledges_without(told: bool) -> None:
    pool = Pool("n", Options(coordinates=told), SeededDice(1), 0.0)
    assert bool(pool.probing.ack_payload()) is told
