"""Filters: what each expression keeps, what is wrong with others, and that nothing else happens."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw, Struct, UnsetType

from mesh.registry.expressions import DEPTH_MAX, EXPRESSION_MAX
from mesh.registry.filters import InvalidFilter, compiled

CASES = Path(__file__).parent.parent / "cases" / "filter"


class Address(Struct, rename="pascal"):
    address: str
    port: int = 0


class Check(Struct, rename="pascal"):
    status: str
    tags: list[str] = []


class Service(Struct, rename="pascal"):
    service: str
    tags: list[str] = []
    port: int = 0
    weight: float = 1.0
    native: bool = False
    kind: str | UnsetType = UNSET
    tagged_addresses: dict[str, Address] | UnsetType = UNSET
    meta: dict[str, str] = {}
    proxy: Any = {}


class Row(Struct, rename="pascal"):
    name: str
    service: Service | None
    checks: list[Check]


UPSTREAMS = {"Upstreams": [{"DestinationName": "db"}, {"DestinationName": "cache"}]}
ROWS = [
    Row(
        "web-1",
        Service(
            "web",
            ["v1", "green"],
            8080,
            2.5,
            native=True,
            tagged_addresses={"wan": Address("192.0.2.7", 443)},
            meta={"rack": "a", "my key": "x", "1st": "one"},
        ),
        [Check("passing"), Check("critical", ["slow"])],
    ),
    Row("web-2", Service("web", ["v2"], 8081, meta={"rack": "b"}), [Check("passing")]),
    Row(
        "proxy-1",
        Service("proxy", kind="connect-proxy", proxy=Raw(b'{"Mode":"direct","Port":7,"On":true}')),
        [],
    ),
    Row("proxy-2", Service("proxy", kind="connect-proxy", proxy=UPSTREAMS), [Check("warning")]),
    Row('odd "one"\n', None, []),
]


def answer(expression: str) -> str:
    """The names of the rows that pass, or the error."""
    try:
        passes = compiled(expression, Row)
    except InvalidFilter as error:
        return error.message
    return " ".join(repr(row.name)[1:-1] for row in ROWS if passes(row)) or "nothing"


@pytest.mark.parametrize("path", sorted(CASES.glob("*.txt")), ids=lambda path: path.stem)
def test_cases(path: Path, request: pytest.FixtureRequest) -> None:
    text = path.read_text()
    asked = [case.partition("\n----\n")[0] for case in text.strip("\n").split("\n\n\n")]
    found = "\n\n\n".join(f"{one}\n----\n{answer(one)}" for one in asked) + "\n"
    if request.config.getoption("--update"):
        path.write_text(found)
    else:
        assert found == text


def test_limits() -> None:
    assert "characters" in answer("Name == " + "x" * EXPRESSION_MAX)
    for deep in ("(" * 50 + 'Name == "x"' + ")" * 50, "not " * 50 + "Name == x"):
        assert f"nested more than {DEPTH_MAX} deep" in answer(deep)
    for long in ("Proxy" + ".a" * 2000 + " == x", "Proxy" + '["a"]' * 800 + " == x"):
        assert f"more than {DEPTH_MAX} names in one selector" in answer(long)
    many = " or ".join(["Name == x"] * 300)
    assert answer(many) == "nothing"
    assert answer("not " * DEPTH_MAX + 'Name == "web-1"') == "web-1"


def test_an_expression_that_takes_too_long_is_given_up() -> None:
    """What is matched may be long, and nobody else is served meanwhile."""
    passes = compiled('Status matches "^(a|b)*a' + "[ab]" * 100 + '$"', Check)
    text = "".join(random.Random(7).choices("ab", k=20_000))
    with pytest.raises(InvalidFilter, match="takes too long on a text of 20000 characters"):
        passes(Check(text))
    assert passes(Check("a" * 101))


def test_a_long_expression_is_shown_around_the_error() -> None:
    shown = answer(" or ".join(["Name == x"] * 20 + ["Nam == x"] + ["Name == x"] * 20))
    line, caret = shown.splitlines()[1:3]
    assert line.strip().startswith("...")
    assert line.endswith("...")
    assert line[caret.index("^") :].startswith("Nam == x")


def test_matches_looks_at_a_long_value_and_takes_linear_time() -> None:
    row = Row("a" * 50_000 + "b", None, [])
    assert compiled('Name matches "(a*)*b$"', Row)(row)
    assert not compiled('Name matches "(a|aa)+$"', Row)(row)


WORDS = st.sampled_from(
    [
        *("Name", "Service", "Service.Tags", "Service.Meta", "Checks", "Checks.Status", "x", "1"),
        *("==", "!=", "in", "not", "is", "empty", "contains", "matches", "and", "or", "(", ")"),
        *("[", "]", '"x"', "`a*`", '"', "`", ".", "Service.Meta.rack", "Service.Port", "=", "\\"),
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=12).map(" ".join)))
def test_any_text_is_a_filter_or_refused(expression: str) -> None:
    with contextlib.suppress(InvalidFilter):
        passes = compiled(expression, Row)
        for row in ROWS:
            assert passes(row) in {True, False}


LEAVES = st.sampled_from(
    ['"v1" in Service.Tags', "Service.Port == 8081", "Checks.Status != passing"]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: f"({two[0]} and {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} or {two[1]})"),
        inner.map(lambda one: f"(not {one})"),
    ),
    max_leaves=8,
)


@given(TREES)
def test_combinations_mean_what_they_do_in_python(expression: str) -> None:
    for row in ROWS:
        text = expression
        for leaf in ('"v1" in Service.Tags', "Service.Port == 8081", "Checks.Status != passing"):
            text = text.replace(leaf, str(compiled(leaf, Row)(row)))
        assert compiled(expression, Row)(row) == eval(text)


@given(st.text(max_size=20))
def test_every_text_can_be_quoted(text: str) -> None:
    escaped = text.encode("unicode_escape", "surrogatepass").decode().replace('"', '\\"')
    if not any("\ud800" <= char <= "\udfff" for char in text):
        row = Row(text, None, [])
        assert compiled(f'Name == "{escaped}"', Row)(row)
