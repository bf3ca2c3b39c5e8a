"""Reconnecting: the pauses between tries of one member."""

from mesh.gossip.reconnect import Retries


def test_pauses_double_up_to_the_longest() -> None:
    retries, now, pauses = Retries(30.0, 200.0), 100.0, []
    assert retries.due(now, ["a", "b"]) == ["a", "b"]
    for _ in range(6):
        retries.tried(now, "a")
        start = now
        while not retries.due(now, ["a"]):
            now += 1.0
        pauses.append(now - start)
    assert pauses == [30.0, 60.0, 120.0, 200.0, 200.0, 200.0]


def test_who_is_back_and_fails_again_is_tried_at_once() -> None:
    retries = Retries(30.0, 200.0)
    retries.tried(0.0, "a")
    assert retries.due(1.0, ["a", "b"]) == ["b"]
    retries.forget("a")
    retries.forget("never tried")
    assert retries.due(1.0, ["a"]) == ["a"]
