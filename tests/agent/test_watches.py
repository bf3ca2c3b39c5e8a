"""Watches: what each type reads, which keys it takes, and which answers are news."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.agent.watches import HttpHandler, News, ScriptHandler, read_watch
from mesh.errors import Invalid


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ({"type": "key", "key": "a/b c"}, "/v1/kv/a/b%20c"),
        ({"type": "keyprefix", "prefix": "a/"}, "/v1/kv/a/?recurse="),
        ({"type": "services"}, "/v1/catalog/services"),
        ({"type": "nodes", "stale": True}, "/v1/catalog/nodes?stale="),
        ({"type": "service", "service": "web/x"}, "/v1/health/service/web%2Fx"),
        (
            {"type": "service", "service": "web", "tag": ["a", "b"], "passingonly": True},
            "/v1/health/service/web?tag=a&tag=b&passing=true",
        ),
        ({"type": "service", "service": "web", "tag": "a"}, "/v1/health/service/web?tag=a"),
        ({"type": "nodes", "filter": "Node == a"}, "/v1/catalog/nodes?filter=Node+%3D%3D+a"),
        ({"type": "checks"}, "/v1/health/state/any"),
        ({"type": "checks", "state": "critical"}, "/v1/health/state/critical"),
        ({"type": "checks", "service": "web"}, "/v1/health/checks/web"),
        ({"type": "event"}, "/v1/event/list"),
        (
            {"type": "event", "name": "deploy", "datacenter": "dc2", "token": "t"},
            "/v1/event/list?name=deploy&dc=dc2&token=t",
        ),
        ({"type": "connect_roots"}, "/v1/agent/connect/ca/roots"),
        (
            {"type": "connect_leaf", "service": "web/x", "token": "t"},
            "/v1/agent/connect/ca/leaf/web%2Fx?token=t",
        ),
    ],
)
def test_what_is_read(given: dict[str, Any], target: str) -> None:
    watch = read_watch(given)
    assert watch.target == target
    assert watch.blocking(7) == f"{target}{'&' if '?' in target else '?'}index=7"
    assert watch.handler is None


def test_handlers() -> None:
    plain = {"type": "nodes"}
    assert read_watch(plain | {"args": ["a", "b"]}).handler == ScriptHandler(("a", "b"))
    shell = read_watch(plain | {"handler_type": "script", "handler": "a | b", "timeout": "5s"})
    assert shell.handler == ScriptHandler(("/bin/sh", "-c", "a | b"), 5.0)
    config = {
        "path": "https://hook/x",
        "method": "PUT",
        "header": {"X-A": ["1", "2"], "X-B": "3"},
        "timeout": "3s",
        "tls_skip_verify": True,
    }
    sent = read_watch(plain | {"handler_type": "http", "http_handler_config": [config]})
    headers = {"X-A": ["1", "2"], "X-B": ["3"]}
    assert sent.handler == HttpHandler("https://hook/x", "PUT", headers, 3.0, True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "type: is missing"),
        ({"type": "moon"}, "type: expected one of key, keyprefix"),
        ({"type": "key"}, "key: is missing"),
        ({"type": "key", "key": 7}, "key: expected a text"),
        ({"type": "service", "service": "a", "tag": [1]}, "tag: expected a text or a list"),
        ({"type": "service", "service": "a", "passingonly": "x"}, "passingonly: expected true"),
        ({"type": "checks", "service": "a", "state": "b"}, "state: give either"),
        ({"type": "key", "key": "a", "filter": "b"}, "filter: a watch of type key has no such key"),
        ({"type": "nodes", "key": "a"}, "key: a watch of type nodes has no such key"),
        ({"type": "nodes", "args": 1}, "args: expected a text or a list"),
        ({"type": "nodes", "args": ["a"], "handler": "b"}, "handler: give either"),
        ({"type": "nodes", "handler_type": "smoke"}, "handler_type: expected script or http"),
        ({"type": "nodes", "timeout": "0s"}, "timeout: expected more than 0"),
        ({"type": "nodes", "timeout": "soon"}, "timeout: "),
        ({"type": "nodes", "handler_type": "http"}, "http_handler_config.path: is missing"),
        ({"type": "nodes", "handler_type": "http", "args": ["a"]}, "args: a watch with"),
        ({"type": "nodes", "http_handler_config": {"path": "x"}}, "needs handler_type http"),
        (
            {"type": "nodes", "handler_type": "http", "http_handler_config": {"path": "ftp://x"}},
            "http_handler_config.path: expected a URL",
        ),
        (
            {
                "type": "nodes",
                "handler_type": "http",
                "http_handler_config": {"path": "http://x", "header": {"A": 1}},
            },
            "http_handler_config.header.A: expected",
        ),
        (
            {
                "type": "nodes",
                "handler_type": "http",
                "http_handler_config": {"path": "http://x", "speed": 1},
            },
            "http_handler_config.speed: such a handler has no such key",
        ),
    ],
)
def test_what_makes_no_sense(given: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        read_watch(given)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["type", "key", "tag", "args", "handler_type", "http_handler_config"]),
        anything | st.sampled_from(["key", "service", "http"]),
    )
)
def test_whatever_is_configured_it_is_a_watch_or_invalid(given: dict[str, Any]) -> None:
    with suppress(Invalid):
        read_watch(given)


def test_an_answer_is_news_when_index_and_content_differ() -> None:
    news = News(read_watch({"type": "nodes"}))
    assert news.take(200, 5, b"[1]") == b"[1]"
    assert news.index == 5
    assert news.take(200, 5, b"[1]") is None, "time was out"
    assert news.take(200, 6, b"[1]") is None, "nothing that is shown changed"
    assert news.take(200, 7, b"[2]") == b"[2]"
    assert news.take(200, 3, b"[3]") == b"[3]", "the servers were restored"
    assert news.index == 3
    with pytest.raises(Invalid, match="500: no leader"):
        news.take(500, 0, b"no leader")
    with pytest.raises(Invalid, match="404"):
        news.take(404, 4, b"")


def test_a_key_is_an_object_or_null() -> None:
    news = News(read_watch({"type": "key", "key": "a"}))
    assert news.take(404, 5, b"") == b"null"
    assert news.take(404, 6, b"") is None
    assert news.take(200, 7, b'[{"Key":"a"}]') == b'{"Key":"a"}'
    assert News(read_watch({"type": "keyprefix", "prefix": "a"})).take(404, 5, b"") == b"[]"


def test_of_events_only_the_new_ones_are_told() -> None:
    def heard(*ids: str) -> bytes:
        return json.dumps([{"ID": one} for one in ids]).encode()

    news = News(read_watch({"type": "event"}))
    assert news.take(200, 1, heard()) is None
    assert news.take(200, 900, heard("a", "b")) == b'[{"ID":"a"},{"ID":"b"}]'
    assert news.take(200, 900, heard("a", "b")) is None
    assert news.take(200, 20, heard("a", "b", "c")) == b'[{"ID":"c"}]'
    assert news.take(200, 7, heard("x", "y")) == b'[{"ID":"x"},{"ID":"y"}]', "b and c fell out"
    assert news.index == 7
