"""The checker itself: histories known to be good or bad, and a search without any cleverness."""

from __future__ import annotations

import random
from itertools import combinations, permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.linearizability.checker import Undecided
from tests.linearizability.history import Operation, Outcome, load, save
from tests.linearizability.models import Anomaly, judge, judge_fences, judge_locks


def op(
    kind: str,
    value: str,
    span: tuple[float, float],
    *,
    index: int = 0,
    outcome: Outcome = "done",
) -> Operation:
    return Operation("c", "k", kind, value, *span, outcome, index)


GOOD = {
    "nothing": [],
    "one after the other": [
        op("read", "", (0, 1)),
        op("write", "a", (2, 3)),
        op("read", "a", (4, 5), index=7),
        op("cas", "b", (6, 7), index=7),
        op("cas", "c", (8, 9), index=7, outcome="refused"),
        op("read", "b", (10, 11), index=9),
    ],
    "a read beside a write sees either": [
        op("write", "a", (0, 9)),
        op("read", "a", (1, 2), index=3),
        op("read", "a", (3, 4), index=3),
    ],
    "an unknown write takes effect late": [
        op("write", "a", (0, 1), outcome="unknown"),
        op("read", "", (2, 3)),
        op("read", "a", (8, 9), index=4),
    ],
    "an unknown write never takes effect": [
        op("write", "a", (0, 1), outcome="unknown"),
        op("write", "b", (2, 3)),
        op("read", "b", (4, 5), index=4),
    ],
    "a cas is refused because of an unknown write that nobody saw": [
        op("write", "a", (0, 1)),
        op("read", "a", (2, 3), index=4),
        op("write", "b", (4, 5), outcome="unknown"),
        op("cas", "c", (6, 7), index=4, outcome="refused"),
    ],
    "a write that failed": [op("write", "a", (0, 1), outcome="failed"), op("read", "", (2, 3))],
}
BAD = {
    "stale read": [
        op("write", "a", (0, 1)),
        op("write", "b", (2, 3)),
        op("read", "a", (4, 5), index=2),
    ],
    "stale read after a newer one": [
        op("write", "a", (0, 1)),
        op("write", "b", (2, 9)),
        op("read", "b", (3, 4), index=3),
        op("read", "a", (5, 6), index=2),
    ],
    "lost write": [op("write", "a", (0, 1)), op("read", "", (2, 3))],
    "lost update": [
        op("write", "a", (0, 1)),
        op("read", "a", (2, 3), index=2),
        op("cas", "b", (4, 7), index=2),
        op("cas", "c", (5, 8), index=2),
    ],
    "applied twice": [
        op("write", "a", (0, 1)),
        op("read", "a", (2, 3), index=2),
        op("write", "b", (4, 5)),
        op("read", "b", (6, 7), index=3),
        op("read", "a", (8, 9), index=4),
    ],
    "from the future": [op("read", "a", (0, 1), index=2), op("write", "a", (2, 3))],
    "from nowhere": [op("read", "x", (0, 1), index=2)],
    "failed, yet there": [
        op("write", "a", (0, 1), outcome="failed"),
        op("read", "a", (2, 3), index=2),
    ],
    "refused, yet there": [
        op("cas", "a", (0, 1), outcome="refused", index=3),
        op("read", "a", (2, 3), index=4),
    ],
    "refused for no reason": [
        op("write", "a", (0, 1)),
        op("read", "a", (2, 3), index=2),
        op("cas", "b", (4, 5), index=2, outcome="refused"),
    ],
    "an index that goes back": [
        op("write", "a", (0, 1)),
        op("read", "a", (2, 3), index=5),
        op("write", "b", (4, 5)),
        op("read", "b", (6, 7), index=4),
    ],
    "one index, two values": [
        op("write", "a", (0, 1)),
        op("write", "b", (0, 1)),
        op("read", "a", (2, 3), index=5),
        op("read", "b", (2, 3), index=5),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories_pass(name: str) -> None:
    assert judge(GOOD[name]) == []
    assert possible(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_bad_histories_are_caught(name: str) -> None:
    (found,) = judge(BAD[name])
    assert found.operations
    assert not possible(BAD[name])


def test_each_key_is_judged_alone() -> None:
    other = [Operation("c", "other", one.kind, one.value, 0, 1) for one in GOOD["nothing"]]
    assert [found.key for found in judge([*BAD["lost write"], *other])] == ["k"]


def test_locks() -> None:
    good = [
        op("acquire", "1", (0, 3)),
        op("release", "1", (4, 6)),
        op("acquire", "2", (1, 9)),
        op("acquire", "3", (2, 9), outcome="unknown"),
        op("acquire", "4", (2, 9), outcome="failed"),
    ]
    assert judge_locks(good) == []
    assert judge_locks([*good, op("acquire", "5", (7, 8))])  # 2 holds it by now, or would wait.
    assert judge_locks([op("acquire", "1", (0, 1)), op("acquire", "2", (2, 3))])
    assert judge_locks([op("acquire", "1", (0, 1)), op("release", "2", (2, 3))])


def test_a_history_keeps_its_shape_in_a_file(tmp_path: Path) -> None:
    history = [one for each in (*GOOD.values(), *BAD.values()) for one in each]
    save(tmp_path / "history", history)
    assert load(tmp_path / "history") == sorted(history, key=lambda one: one.began)


def test_values_that_are_not_distinct_are_not_judged() -> None:
    with pytest.raises(Undecided):
        judge([op("write", "a", (0, 1)), op("write", "a", (2, 3))])


def possible(history: list[Operation]) -> bool:
    """Whether any order of any subset of the unknown explains the history: by trying all."""
    certain = [one for one in history if one.outcome in {"done", "refused"}]
    open_ = [one for one in history if one.outcome == "unknown" and one.kind != "read"]
    return any(
        _explains(order, history)
        for count in range(len(open_) + 1)
        for chosen in combinations(open_, count)
        for order in permutations([*certain, *chosen])
    )


def _explains(order: tuple[Operation, ...], history: list[Operation]) -> bool:
    shown = {
        (one.value, one.index) for one in history if one.kind == "read" and one.outcome == "done"
    }
    indexes = dict(shown)
    ambiguous = len({index for _, index in shown}) < len(shown) or len(indexes) < len(shown)
    return (
        not ambiguous
        and all((value == "") == (index == 0) for value, index in shown)
        and all(
            after.outcome == "unknown" or after.ended >= one.began
            for place, one in enumerate(order)
            for after in order[place:]
        )
        and _follows(order, indexes)
    )


def _follows(order: tuple[Operation, ...], indexes: dict[str, int]) -> bool:
    value, newest = "", 0
    for one in order:
        if one.kind == "read":
            if one.value != value:
                return False
            continue
        holds = one.kind == "write" or one.index == (indexes.get(value, -1) if value else 0)
        if holds != (one.outcome != "refused") and one.outcome != "unknown":
            return False
        if holds:
            value = one.value
            if indexes.get(value, newest + 1) <= newest:
                return False
            newest = indexes.get(value, newest)
    return True


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Small histories of which a good part is linearizable."""
    count = draw(st.integers(1, 6))
    indexes = draw(st.permutations(range(1, 7))) if draw(st.booleans()) else list(range(1, 7))
    made: list[Operation] = []
    for number in range(count):
        kind = draw(st.sampled_from(["read", "write", "cas", "cas"]))
        began = draw(st.integers(0, 12)) if draw(st.booleans()) else 2 * number
        ended = began + draw(st.integers(0, 5))
        about = draw(st.integers(-1, number - 1 if draw(st.booleans()) else count - 1))
        index = indexes[about] if about >= 0 else 0
        if kind == "read":
            value = f"v{about}" if about >= 0 else ""
            made.append(op(kind, value, (began, ended), index=index))
            continue
        outcomes: list[Outcome] = ["done", "done", "unknown", "unknown", "failed"]
        if kind == "cas":
            outcomes += ["refused", "refused"]
        outcome = draw(st.sampled_from(outcomes))
        index = index if kind == "cas" else 0
        made.append(op(kind, f"v{number}", (began, ended), index=index, outcome=outcome))
    return made


@settings(max_examples=600, deadline=None)
@given(histories())
def test_it_agrees_with_a_search_without_cleverness(history: list[Operation]) -> None:
    assert (judge(history) == []) == possible(history)


def simulated(seed: int, operations: int, clients: int) -> list[Operation]:
    """A history of one key as a real run makes it: some requests take long, some end unknown."""
    dice = random.Random(seed)
    waiting = [(dice.random(), client) for client in range(clients)]
    value, index, known, history = "", 0, 0, []
    for number in range(operations):
        waiting.sort()
        began, client = waiting[0]
        took = dice.expovariate(50) * (200 if dice.random() < 0.002 else 1)
        at = began + took * dice.random()
        unknown = dice.random() < 0.01
        history.append((at, began, began + took, client, number, unknown))
        waiting[0] = (began + took, client)
    made: list[Operation] = []
    for _at, began, ended, client, number, unknown in sorted(history):
        kind = dice.choice(["read", "read", "write", "cas"])
        wanted, outcome, new = 0, "done", f"v{number}"
        if kind == "read":
            new, wanted = value, index
            known = known if unknown else index
        else:
            applies = not unknown or dice.random() < 0.5
            if kind == "cas":
                wanted = known  # As a client: only what some read showed.
            if kind == "cas" and wanted != index:
                outcome = "refused"
            elif applies:
                value, index = new, index + 1 + number % 3
            outcome = "unknown" if unknown else outcome
        made.append(
            Operation(f"c{client}", "k", kind, new, began, ended, outcome, wanted)  # type: ignore[arg-type]
        )
    return made


@pytest.mark.parametrize("clients", [8, 30])
def test_long_histories_of_many_clients_are_judged(clients: int) -> None:
    history = simulated(clients, 10_000, clients)
    assert judge(history) == []


def test_one_stale_read_in_a_long_history_is_found() -> None:
    history = simulated(5, 5_000, 20)
    spoiled = [one for one in history if one.kind == "read" and one.outcome == "done"]
    late, early = spoiled[-100], spoiled[len(spoiled) // 2]
    changed = Operation(
        late.client, "k", "read", early.value, late.began, late.ended, index=early.index
    )
    found: list[Anomaly] = judge([changed if one is late else one for one in history])
    assert [one.key for one in found] == ["k"]


def test_fencing_tokens_must_grow() -> None:
    assert judge_fences({"a": [(2.0, 2), (1.0, 1)], "b": []}) == []
    (found,) = judge_fences({"a": [(1.0, 2), (2.0, 2)], "b": [(1.0, 1)]})
    assert (found.key, found.reason) == ("a", "the fencing tokens do not grow: [2, 2]")
