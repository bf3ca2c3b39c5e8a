"""Reachability: who is missing, who is a stranger, and what to do about it."""

from mesh.agent.reachability import judge


def test_everybody_answers() -> None:
    found = judge(["b", "a"], ["a", "b"])
    assert found.acknowledged == ["a", "b"]
    assert (found.missing, found.strangers, found.advice) == ([], [], [])


def test_the_missing_and_strangers_get_advice() -> None:
    found = judge(["c", "a", "b"], ["a", "z"])
    assert (found.acknowledged, found.missing, found.strangers) == (["a"], ["b", "c"], ["z"])
    assert len(found.advice) == 4
    assert "UDP and TCP" in found.advice[0]
    assert "share a name" in found.advice[-1]
