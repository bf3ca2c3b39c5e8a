from __future__ import annotations

from mesh.ui.memory import KEPT_MAX, LOOK_SECONDS, PLACES_MAX, Memory


def test_what_was_not_there_at_the_last_look_is_there_since_now() -> None:
    memory = Memory()
    assert memory.look("dc1", ["a"], 100.0) == {"a": (100.0, True)}
    assert memory.look("dc1", ["a", "b"], 101.0) == {"a": (100.0, True), "b": (101.0, False)}
    assert memory.look("dc1", ["b"], 102.0) == {"b": (101.0, False)}
    assert memory.look("dc1", ["a", "b"], 103.0)["a"] == (103.0, False)


def test_after_a_while_without_a_look_nobody_knows_since_when() -> None:
    memory = Memory()
    memory.look("dc1", [], 100.0)
    assert memory.look("dc1", ["a"], 101.0 + LOOK_SECONDS) == {"a": (111.0, True)}
    assert memory.look("dc2", ["a"], 112.0) == {"a": (112.0, True)}


def test_answers_are_kept_until_their_time_and_not_too_many() -> None:
    memory = Memory()
    memory.keep("a", 1, 10.0)
    assert (memory.kept("a", 9.0), memory.kept("a", 10.0), memory.kept("b", 0.0)) == (1, None, None)
    for i in range(KEPT_MAX + 1):
        memory.keep(f"k{i}", i, 10.0)
    assert memory.kept("a", 9.0) is None
    assert memory.kept(f"k{KEPT_MAX}", 9.0) == KEPT_MAX


def test_datacenters_that_nobody_asks_about_are_forgotten() -> None:
    memory = Memory()
    for i in range(PLACES_MAX + 1):
        memory.look(f"dc{i}", ["a"], 100.0 + i)
    assert memory.look("dc1", ["a"], 101.0)["a"] == (101.0, True)
    assert memory.look("dc0", ["a"], 300.0)["a"] == (300.0, True)
