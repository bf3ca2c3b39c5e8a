from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any, Optional

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.http import params
from mesh.http.catalog import RegisterBody
from mesh.http.request import Request

Make = Callable[..., Request]
anything = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)


def test_whole() -> None:
    assert params.whole("18446744073709551615", "n") == 2**64 - 1
    for text in ("", "-1", "+1", "1.0", "0x1", "٣", "18446744073709551616", "1" * 5000):
        with pytest.raises(Invalid, match=r"^n: "):
            params.whole(text, "n")


def test_parse() -> None:
    assert params.parse("") == {}
    assert params.parse("a&b=&c=1&c=2&d=x%20y+z&&e=f=g") == {
        "a": [""],
        "b": [""],
        "c": ["1", "2"],
        "d": ["x y z"],
        "e": ["f=g"],
    }
    with pytest.raises(Invalid, match="not UTF-8"):
        params.parse("a=%ff")
    with pytest.raises(Invalid, match="parameters"):
        params.parse("a&" * 2000)


@given(st.text())
def test_parse_raises_only_invalid(query: str) -> None:
    with contextlib.suppress(Invalid):
        params.parse(query)


@anything
@given(data=st.binary())
def test_body_raises_only_invalid(request_for: Make, data: bytes) -> None:
    with contextlib.suppress(Invalid):
        params.body(request_for(body=data), RegisterBody)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
def test_a_number_that_the_log_cannot_hold_is_refused(request_for: Make, number: int) -> None:
    body = json.dumps({"Node": "a", "Service": {"Proxy": {"Config": [number]}}}).encode()
    with pytest.raises(Invalid, match="Request decode failed: can't serialize ints"):
        params.body(request_for(body=body), RegisterBody)


@pytest.mark.parametrize("header", ["X-Consul-Token", "Authorization"])
def test_a_token_is_text(request_for: Make, header: str) -> None:
    token = "é" if header == "X-Consul-Token" else "Bearer é"
    assert params.token(request_for(headers={header: token})) == "é"
    with pytest.raises(Invalid, match="not UTF-8"):
        params.token(request_for(headers={header: f"{token}\udcff"}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@anything
@given(service=json_values, checks=json_values, meta=json_values)
def test_a_body_of_odd_types_raises_only_invalid(
    request_for: Make, service: object, checks: object, meta: object
) -> None:
    body = {"Node": "n", "Service": service, "Checks": checks, "NodeMeta": meta}
    with contextlib.suppress(Invalid):
        params.body(request_for(body=json.dumps(body).encode()), RegisterBody)


class Inner(msgspec.Struct, rename="pascal"):
    some_name: str = "default"


class Outer(msgspec.Struct, rename="pascal"):
    inner: Inner | None = None
    maybe: Optional[list[Inner]] = None  # noqa: UP045 - both spellings must work.
    many: list[Inner] = []
    named: dict[str, Inner] = {}
    free: dict[str, Any] = {}
    wait: str | int = 0


def decode(request_for: Make, text: str, **aliases: str) -> Outer:
    return params.body(request_for(body=text.encode()), Outer, aliases)


def test_body_names_match_in_any_case_at_any_depth(request_for: Make) -> None:
    text = """{"INNER": {"somename": "a"}, "many": [{"SOMENAME": "b"}, null],
               "Named": {"KeyStays": {"SomeName": "c"}}, "free": {"AnyThing": {"x": null}},
               "wait": "10s"}"""
    with pytest.raises(Invalid, match="Request decode failed"):
        decode(request_for, text)
    found = decode(request_for, text.replace(", null]", "]"))
    assert found == Outer(
        Inner("a"),
        many=[Inner("b")],
        named={"KeyStays": Inner("c")},
        free={"AnyThing": {"x": None}},
        wait="10s",
    )
    assert decode(request_for, '{"maybe": [{"somename": "d"}]}').maybe == [Inner("d")]


def test_body_null_is_the_default(request_for: Make) -> None:
    assert decode(request_for, '{"Inner": {"SomeName": null}, "Many": null}') == Outer(Inner())


def test_body_aliases(request_for: Make) -> None:
    text = '{"Inner": {"some_name": "a"}}'
    assert decode(request_for, text, some_name="SomeName").inner == Inner("a")
    with pytest.raises(Invalid, match='unknown field "some_name"'):
        decode(request_for, text)


def test_flag(request_for: Make) -> None:
    assert not params.flag(request_for(), "x")
    assert params.flag(request_for("x"), "x")
    assert not params.flag(request_for("x=false"), "x")
    with pytest.raises(Invalid):
        params.flag(request_for("x=maybe"), "x")


def test_without_an_index_there_is_no_jitter(request_for: Make) -> None:
    assert params.read_options(request_for("wait=10s")).wait == 10.0
    assert params.read_options(request_for()).wait == 300.0
    assert 10.0 < params.read_options(request_for("wait=10s&index=1")).wait <= 10.625


def test_node_meta(request_for: Make) -> None:
    request = request_for("node-meta=a:b:c&node-meta=d")
    assert params.node_meta(request) == (("a", "b:c"), ("d", ""))
    assert params.has_meta({"a": "b:c", "d": ""}, params.node_meta(request))
    assert not params.has_meta({"a": "b:c"}, params.node_meta(request))
