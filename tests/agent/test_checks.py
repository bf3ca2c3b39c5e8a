"""How results become a status."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.agent.checks import CriticalClock, Judge, Result, Thresholds, shorten

STATUSES = st.sampled_from(["passing", "warning", "critical"])


def judged(thresholds: Thresholds, results: list[str], status: str = "critical") -> list[str]:
    judge = Judge(thresholds, status)
    return [judge.judge(Result(result, "")) for result in results]


def words(text: str) -> list[str]:
    names = {"p": "passing", "w": "warning", "c": "critical"}
    return [names[letter] for letter in text]


@pytest.mark.parametrize(
    ("thresholds", "results", "expected"),
    [
        (Thresholds(), "pcwp", "pcwp"),
        # Until warning defaults to until critical.
        (Thresholds(failures_before_critical=3), "pcccp", "pppcp"),
        (Thresholds(failures_before_critical=3, failures_before_warning=2), "pccccp", "ppwccp"),
        (Thresholds(failures_before_critical=2), "ccp", "ccp"),
        (Thresholds(success_before_passing=2), "cppp", "ccpp"),
        (Thresholds(success_before_passing=2), "cpcpp", "ccccp"),
        (Thresholds(success_before_passing=2), "cwp", "ccp"),
        (Thresholds(success_before_passing=3), "pcp", "pcc"),
    ],
)
def test_thresholds(thresholds: Thresholds, results: str, expected: str) -> None:
    assert judged(thresholds, words(results)) == words(expected)


@given(STATUSES, STATUSES, st.integers(0, 9), st.integers(0, 9))
def test_the_first_result_applies_at_once(
    before: str, first: str, success: int, failures: int
) -> None:
    thresholds = Thresholds(success, 0, failures)
    assert judged(thresholds, [first], before) == [first]


@given(
    st.lists(STATUSES, min_size=2, max_size=40),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_a_change_needs_a_run_of_equal_results(
    results: list[str], success: int, warning: int, more: int
) -> None:
    thresholds = Thresholds(success, warning, warning + more)
    statuses = judged(thresholds, results)
    for at in range(1, len(results)):
        now, before = statuses[at], statuses[at - 1]
        run = 0
        while run <= at and (results[at - run] == "critical") == (results[at] == "critical"):
            run += 1
        if results[at] == "critical":
            assert now != "passing" or before == "passing"
            if now == "critical" != before:
                assert run >= thresholds.failures_before_critical
            if run >= max(thresholds.failures_before_critical, 1):
                assert now == "critical"
        else:
            assert now in {before, results[at]}
            if now != before:
                assert run >= success
            if run >= success:
                assert now == results[at]


def test_the_critical_clock() -> None:
    clock = CriticalClock(10)
    clock.observe("critical", 100)
    clock.observe("critical", 105)
    assert not clock.expired(109.9)
    assert clock.expired(110)
    clock.observe("warning", 111)
    assert clock.since == math.inf
    clock.observe("critical", 112)
    assert not clock.expired(121)
    endless = CriticalClock(0)
    endless.observe("critical", 0)
    assert not endless.expired(1e9)


@given(st.text(max_size=80), st.integers(1, 60), st.sampled_from(["head", "tail"]))
def test_outputs_are_cut_by_bytes(output: str, limit: int, keep: str) -> None:
    size = len(output.encode())
    text = shorten(Result("passing", output, "head" if keep == "head" else "tail"), limit)
    if size <= limit:
        assert text == output
    elif keep == "head":
        kept = text.removesuffix(f" (captured {limit} of {size} bytes)")
        assert output.startswith(kept)
        assert limit - 3 <= len(kept.encode()) <= limit
    else:
        kept = text.removeprefix(f"Captured {limit} of {size} bytes\n...\n")
        assert output.endswith(kept)
        assert limit - 3 <= len(kept.encode()) <= limit
