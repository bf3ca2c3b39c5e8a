from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.clock import SeededDice, SystemClock
from mesh.errors import Invalid
from mesh.http.dispatch import Admitted, Dispatcher, clean
from mesh.http.request import Parts, Reply
from tests.http.conftest import OPTIONS
from tests.registry_memory import MemoryRegistry

DISPATCHER = Dispatcher(Parts(MemoryRegistry(), SystemClock(), SeededDice(1)), OPTIONS)


def admit(target: str, method: str = "GET") -> Admitted | Reply:
    return DISPATCHER.admit(method, target, {}, "127.0.0.1")


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("/", "/"),
        ("/a/b/", "/a/b/"),
        ("//", "/"),
        ("/a//b//", "/a/b/"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/../../a", "/a"),
        ("/a/b/..", "/a/"),
        ("/.hidden", "/.hidden"),
    ],
)
def test_clean(path: str, cleaned: str) -> None:
    assert clean(path) == cleaned


@given(st.text(alphabet="/.a%2", max_size=12))
def test_clean_is_idempotent_and_stays_on_this_host(path: str) -> None:
    cleaned = clean("/" + path)
    assert clean(cleaned) == cleaned
    assert cleaned.startswith("/")
    assert not cleaned.startswith("//")


@given(st.text(), st.sampled_from(["GET", "PUT", "OPTIONS", "BREW"]))
def test_any_target_is_answered_or_refused(target: str, method: str) -> None:
    with contextlib.suppress(Invalid):
        admit(f"/v1/kv/{target}", method)
        admit(target, method)


@pytest.mark.parametrize(
    ("target", "rest"),
    [
        ("/v1/kv/a/b", "a/b"),
        ("/v1/kv/", ""),
        ("/v1/kv/a%2Fb%20c?raw", "a/b c"),
        ("/v1/kv/é", "é"),
        ("/v1/kv/\udcc3\udca9", "é"),
        ("http://other:8500/v1/kv/x?raw", "x"),
    ],
)
def test_the_rest_of_the_path(target: str, rest: str) -> None:
    admitted = admit(target)
    assert isinstance(admitted, Admitted)
    assert admitted.request.rest == rest


def test_the_longest_route_wins() -> None:
    admitted = admit("/v1/health/service/checks/x")
    assert isinstance(admitted, Admitted)
    assert admitted.route.path == "/v1/health/service/:service"
    assert admitted.request.rest == "checks/x"


@pytest.mark.parametrize("target", ["*", "example.com:443", "", "v1/kv/x"])
def test_odd_targets_are_unknown(target: str) -> None:
    reply = admit(target)
    assert isinstance(reply, Reply)
    assert reply.status in {301, 404}
