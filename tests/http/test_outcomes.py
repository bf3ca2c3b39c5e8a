"""/v1/operator/request: what became of requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mesh.errors import Invalid
from mesh.http import kv, outcomes, params
from mesh.http.request import Request
from tests.registry_memory import MemoryRegistry

Make = Callable[..., Request]


async def ask(request: Request) -> dict[str, Any]:
    reply = await outcomes.find(request)
    assert reply.status == 200
    found: dict[str, Any] = json.loads(reply.body)
    return found


async def test_a_write_with_a_key_can_be_asked_for(
    request_for: Make, registry: MemoryRegistry
) -> None:
    key = "order 17/é"
    await kv.put(request_for(rest="a", body=b"1", headers={"Idempotency-Key": key}))
    found = await ask(request_for(rest=key))
    assert (found["Request"], found["Status"], found["Value"]) == (key, "applied", True)
    assert found["Index"] == registry.database.index
    assert registry.reads[-1][1].consistency == "consistent"


async def test_a_key_in_quotes_is_the_same_key(request_for: Make, registry: MemoryRegistry) -> None:
    await kv.put(request_for(rest="a", headers={"Idempotency-Key": '"k-1"'}))
    assert registry.writes[-1][1].request == "key:k-1"
    await kv.put(request_for(rest="a", headers={"Idempotency-Key": '"'}))
    assert registry.writes[-1][1].request == 'key:"'


async def test_every_write_has_a_key_of_its_own(
    request_for: Make, registry: MemoryRegistry
) -> None:
    for _ in range(2):
        await kv.put(request_for(rest="a"))
    (_, first), (_, second) = registry.writes
    assert first.request != second.request
    assert first.request.startswith("key:")
    assert (first.attempt, first.since) == (0, None)


async def test_a_request_sent_before_says_since_when(request_for: Make) -> None:
    headers = {"Idempotency-Key": "k", "Idempotency-Since": "12"}
    options = params.write_options(request_for(headers=headers))
    assert (options.request, options.attempt, options.since) == ("key:k", 1, 12)


@pytest.mark.parametrize("key", ["\x01", "a\nb", "x" * 129, "é" * 65, "\udc80"])
def test_bad_keys_are_refused(request_for: Make, key: str) -> None:
    with pytest.raises(Invalid, match="Idempotency-Key: expected 1 to 128 bytes"):
        params.write_options(request_for(headers={"Idempotency-Key": key}))


def test_a_bad_since_is_refused(request_for: Make) -> None:
    with pytest.raises(Invalid, match="Idempotency-Since: expected"):
        params.write_options(request_for(headers={"Idempotency-Since": "-1"}))


async def test_what_never_came_is_not_applied_only_as_far_as_memory_reaches(
    request_for: Make, registry: MemoryRegistry
) -> None:
    assert (await ask(request_for(rest="k")))["Status"] == "unknown"
    registry.database.ledger.horizon = 7
    registry.answers.restored()
    assert (await ask(request_for("since=7", rest="k")))["Status"] == "not-applied"
    old = await ask(request_for("since=6", rest="k"))
    assert old["Status"] == "unknown"
    assert old["Meaning"].endswith("No copy of it is applied from now on.")


async def test_cancelling_is_for_good_and_under_an_id_of_its_own(
    request_for: Make, registry: MemoryRegistry
) -> None:
    registry.database.ledger.horizon = 7
    registry.database.index = 9
    headers = {"Idempotency-Key": "k"}
    reply = await outcomes.cancel(request_for("since=7", rest="k", headers=headers))
    assert json.loads(reply.body)["Status"] == "cancelled"
    assert (await ask(request_for(rest="k")))["Status"] == "cancelled"
    assert registry.writes[-1][1].request != "key:k"
