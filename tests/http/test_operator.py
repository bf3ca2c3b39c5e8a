"""/v1/operator: what became of requests, and the feature level."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from mesh.agent.operations import MemberInfo
from mesh.errors import Conflict, Invalid
from mesh.http import kv, operator, params
from mesh.http.request import Parts, Request
from mesh.registry import levels
from mesh.registry.port import WriteOptions
from mesh.rpc.servers import ServerTags
from tests.registry_memory import MemoryRegistry

Make = Callable[..., Request]
ALIVE, LEFT, FAILED = 1, 3, 4


async def ask(request: Request) -> dict[str, Any]:
    reply = await operator.find_request(request)
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
    reply = await operator.cancel_request(request_for("since=7", rest="k", headers=headers))
    assert json.loads(reply.body)["Status"] == "cancelled"
    assert (await ask(request_for(rest="k")))["Status"] == "cancelled"
    assert registry.writes[-1][1].request != "key:k"


def member(name: str, highest: int, status: int = ALIVE) -> MemberInfo:
    tags = ServerTags(id=name, datacenter="dc1", port=8300, level_max=highest).tags()
    if highest == 1:  # As the first mesh showed itself.
        del tags["level_min"], tags["level_max"]
    return MemberInfo(name, "127.0.0.1", 8301, tags, status, (1, 5, 2), (2, 5, 4))


@pytest.fixture
def request_in(request_for: Make, parts: Parts) -> Callable[..., Request]:
    """A request to a node that knows these members."""

    def make(*members: MemberInfo) -> Request:
        agent = SimpleNamespace(operations=SimpleNamespace(members=lambda _: list(members)))
        return msgspec.structs.replace(
            request_for(), parts=msgspec.structs.replace(parts, agent=agent)
        )

    return make


async def test_the_level_waits_for_every_server_that_has_not_left(request_in: Make) -> None:
    request = request_in(
        member("s3", 1, FAILED), member("s1", 2), member("s2", 1), member("s0", 1, LEFT)
    )
    status = json.loads((await operator.upgrade(request)).body)
    assert (status["Level"], status["LevelMax"]) == (1, 2)
    assert status["WaitingFor"] == ["s2 (level 1)", "s3 (level 1)"]
    assert [one["Name"] for one in status["Servers"]] == ["s1", "s2", "s3"]
    with pytest.raises(Conflict, match=r"s2 \(level 1\), s3 \(level 1\) cannot read it"):
        await operator.finalize(request)


async def test_finalizing_again_changes_nothing(request_in: Make, registry: MemoryRegistry) -> None:
    request = request_in(member("s1", 2), member("s2", 2))
    for _ in range(2):
        status = json.loads((await operator.finalize(request)).body)
        assert (status["Level"], status["LevelMax"], status["WaitingFor"]) == (2, 2, [])
    assert levels.level_of(registry.database) == 2
    assert [command for command, _ in registry.writes] == [levels.Finalize(2)]
    assert isinstance(registry.writes[0][1], WriteOptions)
