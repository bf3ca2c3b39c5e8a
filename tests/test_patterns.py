"""Patterns: RE2's meaning, checked against Python's where they agree, and never much time."""

import contextlib
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.patterns import KNOWN_MAX, PROGRAM_MAX, STEPS_COUNTED, TEXT_MAX, Pattern


@pytest.mark.parametrize(
    ("expression", "text", "found"),
    [
        ("", "", True),
        ("web", "my-web-7", True),
        ("^web$", "web-7", False),
        ("^(web|db)-[0-9]+$", "db-12", True),
        ("^(web|db)-[0-9]+$", "db-", False),
        ("a|", "x", True),
        ("colou?r", "color", True),
        ("x{2,3}y", "xy", False),
        ("x{2,3}y", "xxxxy", True),
        ("^x{2}$", "xxx", False),
        ("^x{2,}$", "xxxxx", True),
        ("x{,3}", "x{,3}", True),
        ("a{1", "a{1", True),
        ("^.$", "\n", False),
        ("(?s)^.$", "\n", True),
        ("^b", "a\nb", False),
        ("(?m)^b$", "a\nb\nc", True),
        ("(?i)WEB", "web", True),
        ("a(?i)b", "aB", True),
        ("a(?i)b", "AB", False),
        ("a(?i:b)c", "aBC", False),
        ("(?i:straße)", "STRAßE", True),
        ("(?i)x(?-i)y", "XY", False),
        (r"\bweb\b", "a web b", True),
        (r"\bweb\b", "cobweb", False),
        (r"\Bweb", "cobweb", True),
        (r"\Aa\z", "a", True),
        (r"\d+\.\d+", "1.2", True),
        (r"^\D\W\S$", "a-b", True),
        (r"^[\w-]+$", "a-b_c", True),
        (r"^[\D]$", "1", False),
        ("^[^a-c]$", "b", False),
        ("^[^a]$", "\n", True),
        ("^[]a]+$", "]a", True),
        ("^[a-]+$", "a-", True),
        ("^[[:alpha:]]+$", "abC", True),
        ("^[[:^digit:]x]+$", "1", False),
        (r"\x41\x{1F600}", "A\U0001f600", True),
        (r"^\Qa.b\E$", "a.b", True),
        (r"\Q(", "(", True),
        (r"\.\*\t\n", ".*\t\n", True),
        ("(?P<name>x)(?<other>y)", "xy", True),
        ("(?:ab)+?c", "ababc", True),
        ("(a*)*b", "aaab", True),
        ("(|a)+", "b", True),
        ("ü", "für", True),
        ("}]", "}]", True),
    ],
)
def test_expressions_mean_what_they_do_in_re2(expression: str, text: str, found: bool) -> None:
    assert Pattern(expression).found_in(text) is found


@pytest.mark.parametrize(
    "expression",
    [
        *("(", ")", "a)", "[a", "[z-a]", "*", "+a", "a**", "a+*", "a{2}{3}", "x{3,2}", "x{1001}"),
        *("\\", r"\c", r"\1", r"\pL", r"\C", r"[\b]", "(?z)", "(?i", "(?=a)", "(?!a)", "[[:no:]]"),
        *(r"\x{zz}", r"\xg0", "(?P<n", "(" * 100 + ")" * 100, "x{1000}", "(x{100}){100}"),
        *("(((){1000}){1000}){1000}", "a" * (PROGRAM_MAX + 1), "a" * 5000),
    ],
)
def test_what_is_wrong_or_too_much_is_refused(expression: str) -> None:
    with pytest.raises(Invalid):
        Pattern(expression)


# Each takes Python's own matcher longer than anybody waits.
@pytest.mark.parametrize("expression", ["(a*)*$", "(a|a)*$", "(a|aa)+$", "(.*a){20}$", "(a+)+b"])
def test_hostile_expressions_take_time_linear_in_the_text(
    expression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pattern = Pattern(expression)
    visited = 0
    reach = pattern._reach

    def count(starts: frozenset[int], before: str, after: str) -> set[int]:
        nonlocal visited
        found = reach(starts, before, after)
        visited += len(found)
        return found

    monkeypatch.setattr(pattern, "_reach", count)
    pattern.found_in("a" * TEXT_MAX + "!")
    assert visited <= (TEXT_MAX + 1) * (pattern.steps + 1)


def test_what_is_remembered_has_a_limit() -> None:
    """Also when nearly every character leads to a state of its own, with very many steps."""
    pattern = Pattern("^(a|b)*a" + "[ab]" * 240 + "$")
    dice = random.Random(7)
    pattern.found_in("".join(dice.choices("ab", k=3000)), 3000)
    held = sum(len(steps) for steps, _ in pattern._states)
    assert 0 < held <= KNOWN_MAX * STEPS_COUNTED + PROGRAM_MAX


ATOMS = st.sampled_from(
    ["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", r"\b", "^", "$", r"\.", "1", "(?i:B)"]
)
QUANTIFIERS = ["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "+?", "??"]
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=400)
@given(EXPRESSIONS, st.text("ab1.B ", max_size=8))
def test_it_finds_what_python_finds(expression: str, text: str) -> None:
    # `$` means the very end here. The expressions are small: Python's matcher is safe with them.
    theirs = re.search(expression.replace("$", r"\Z"), text, re.ASCII)
    assert Pattern(expression).found_in(text) is (theirs is not None)


GROUPED = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        # A group that matches nothing again and again is where Perl and RE2 part.
        st.tuples(
            st.sampled_from(["a", "[ab]", r"\d", "(a|b)", "(b)"]), st.sampled_from(QUANTIFIERS)
        ).map("".join),
        inner.map(lambda one: f"({one})"),
    ),
    max_leaves=6,
)


@settings(max_examples=400)
@given(GROUPED, st.text("ab1.B ", max_size=8))
def test_groups_are_what_python_says_they_are(expression: str, text: str) -> None:
    theirs = re.search(expression.replace("$", r"\Z"), text, re.ASCII)
    if theirs is None:
        assert Pattern(expression).groups(text) is None
    else:
        assert Pattern(expression).groups(text) == (theirs[0], *theirs.groups(""))


@pytest.mark.parametrize(
    ("expression", "text", "groups"),
    [
        ("^geo-db-(.*?)-([^-]+?)$", "geo-db-web-eu", ("geo-db-web-eu", "web", "eu")),
        ("(?P<one>a+?)(?:b)(a*)", "xaabaa", ("aabaa", "aa", "aa")),
        ("(?U)(a+)(a*?)", "aaa", ("aaa", "a", "aa")),
        ("(a)|(b)", "b", ("b", "", "b")),
        ("a(b)?", "a", ("a", "")),
        ("x*", "aaa", ("",)),
        ("(a", None, None),
    ],
)
def test_groups(expression: str, text: str | None, groups: tuple[str, ...]) -> None:
    if text is None:
        with pytest.raises(Invalid):
            Pattern(expression)
    else:
        assert Pattern(expression).groups(text) == groups


@pytest.mark.parametrize("expression", ["((a*)*)*$", "(a|a)*(b)$", "(.*)(.*)(.*)(.*)b"])
def test_groups_of_hostile_expressions_take_linear_time_too(
    expression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pattern = Pattern(expression)
    pattern.groups("x")
    advanced, advance = 0, pattern._advance

    def count(*args: Any) -> Any:
        nonlocal advanced
        advanced += 1
        return advance(*args)

    monkeypatch.setattr(pattern, "_advance", count)
    assert pattern.groups("a" * TEXT_MAX) is None or expression.startswith("((")
    assert advanced <= (TEXT_MAX + 1) * (len(pattern._saving) + 1)


@given(st.text("ab(){}[]|*+?\\^$.-,:=!<>Pix012Q", max_size=30))
def test_any_text_is_an_expression_or_refused(expression: str) -> None:
    with contextlib.suppress(Invalid):
        pattern = Pattern(expression)
        assert pattern.found_in("ab12ab") is (pattern.groups("ab12ab") is not None)
