"""HCL comes back as it was written, and any other text is refused with its place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mesh.config.hcl import SyntaxProblem, parse

names = some.from_regex(r"[a-z_][a-z0-9_.-]{0,8}", fullmatch=True).filter(
    lambda name: name not in {"true", "false"}
)
plain_texts = some.text(some.characters(exclude_categories=["Cs"])).filter(lambda t: "${" not in t)
scalars = some.one_of(
    some.booleans(),
    some.integers(-(2**53), 2**53),
    some.floats(allow_nan=False, allow_infinity=False),
    plain_texts,
)
values = some.recursive(
    scalars, lambda inner: some.lists(inner) | some.dictionaries(names, inner), max_leaves=8
)


def write(value: Any, block: bool) -> str:
    if isinstance(value, dict):
        return "{" + body(value, block) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(write(item, block) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def body(items: dict[str, Any], block: bool) -> str:
    lines = [
        f"{name} {'' if block and isinstance(item, dict) else '='} {write(item, block)}"
        for name, item in items.items()
    ]
    return "\n".join(lines) if block else ", ".join(lines)


@given(some.dictionaries(names, values))
def test_comes_back(items: dict[str, Any]) -> None:
    assert parse(body(items, block=True)) == (items, [])
    assert parse(f"top = {write(items, block=False)}") == ({"top": items}, [])


@given(some.text(some.sampled_from('ab1"{}[]=,<-\n \\#/*${.x'), max_size=40))
def test_refusals_have_a_place(text: str) -> None:
    line, column = 1, 1
    try:
        parse(text)
    except SyntaxProblem as problem:
        line, column = problem.line, problem.column
    assert 1 <= column <= len(text.split("\n")[line - 1]) + 1


@pytest.mark.parametrize(
    "text", ["a = [" * 5000, "a {" * 5000, 'a = "' + "${" * 5000, "<<E\n" * 900]
)
def test_long_nonsense_is_refused_quickly(text: str) -> None:
    with pytest.raises(SyntaxProblem):
        parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x1F", 31),
        ("010", 8),
        ("-3", -3),
        ("1.5e3", 1500.0),
        (r'"\x41\101\U0001F600\u00e9"', "AA😀é"),
        ('"${a "b" }"', '${a "b" }'),
        ('"#not // a /* comment"', "#not // a /* comment"),
        ("<<E\n a\n  b\nE", " a\n  b\n"),
        ("<<-E\n a\n  b\n E", "a\n b\n"),
        ("<<-E\na\n  b\n E", "a\n  b\n"),
        ("[[1], [{}, { a = 2 }]]", [[1], [{}, {"a": 2}]]),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert parse(f"x = {text}\ny = 1") == ({"x": value, "y": 1}, [])
