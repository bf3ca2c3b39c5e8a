"""Replies: errors to statuses, freshness to headers."""

import math

import pytest

from mesh.errors import (
    Cutoff,
    Denied,
    Invalid,
    MeshError,
    NoLeader,
    NoPath,
    NotFound,
    OutcomeUnknown,
    Outdated,
    TooLarge,
)
from mesh.http import respond
from mesh.registry.port import Answer, ReadOptions


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Invalid("x"), 400),
        (Denied("x"), 403),
        (NotFound("x"), 404),
        (NoPath('No path to datacenter "x"'), 500),
        (Cutoff("x"), 500),
        (TooLarge("x"), 413),
        (NoLeader("x"), 500),
    ],
)
def test_errors_have_a_status(error: MeshError, status: int) -> None:
    assert respond.failure(error).status == status


def test_no_leader_says_so_in_the_words_clients_look_for() -> None:
    assert respond.failure(NoLeader("still electing")).body.startswith(b"No cluster leader")


def test_an_index_is_never_zero() -> None:
    assert respond.read_headers(Answer(None, 0))["X-Consul-Index"] == "1"


def test_a_leader_never_heard_of_is_a_long_time_ago() -> None:
    headers = respond.read_headers(Answer(None, 1, known_leader=False, last_contact=math.inf))
    assert int(headers["X-Consul-LastContact"]) > 86_400_000
    assert headers["X-Consul-KnownLeader"] == "false"


def test_the_consistency_is_told_where_it_is_asked_for() -> None:
    options = ReadOptions(consistency="stale")
    headers = respond.read_headers(Answer(None, 1), options)
    assert headers["X-Consul-Effective-Consistency"] == "stale"


def test_an_unknown_outcome_says_how_to_ask_and_how_to_repeat() -> None:
    reply = respond.failure(OutcomeUnknown("the leader changed", "key:a b", 7))
    assert reply.status == 500
    assert reply.headers == {"Idempotency-Key": "a b", "Idempotency-Since": "7"}
    text = reply.body.decode()
    assert "GET /v1/operator/request/a%20b?since=7" in text
    assert "meshctl operator request --since 7 'a b'" in text


def test_an_unknown_outcome_elsewhere_names_the_datacenter_to_ask() -> None:
    reply = respond.failure(OutcomeUnknown("the leader changed", "key:k", 7), "d 2")
    text = reply.body.decode()
    assert "GET /v1/operator/request/k?since=7&dc=d%202" in text
    assert "meshctl operator request --since 7 --datacenter 'd 2' k" in text


def test_what_is_too_old_to_tell_is_not_to_be_repeated() -> None:
    reply = respond.failure(Outdated("it may have been forgotten", 9, "key:k", 7))
    assert reply.status == 500
    assert reply.headers == {"Idempotency-Key": "k", "Idempotency-Since": "7"}
    text = reply.body.decode()
    assert text.startswith("The outcome is unknown, and too old to tell: it may have been")
    assert "repeat" not in text


def test_what_mesh_asked_for_itself_has_no_key_to_ask_with() -> None:
    reply = respond.failure(OutcomeUnknown("the leader changed", "a-uuid", 7))
    assert (reply.body, reply.headers) == (b"the leader changed", {})


def test_answers_that_an_agent_held_say_so_and_how_old_they_are() -> None:
    held = Answer(None, 1, known_leader=False, last_contact=75.4, age=72.9)
    headers = respond.read_headers(held, ReadOptions(cached=True))
    assert (headers["X-Cache"], headers["Age"]) == ("HIT", "72")
    assert headers["X-Consul-Effective-Consistency"] == "stale"
    assert headers["X-Consul-LastContact"] == "75400"
    fresh = respond.read_headers(Answer(None, 1), ReadOptions(cached=True))
    assert fresh["X-Cache"] == "MISS"
    assert "Age" not in fresh
    assert "X-Cache" not in respond.read_headers(Answer(None, 1), ReadOptions())
