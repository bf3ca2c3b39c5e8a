"""/v1/operator/upgrade: the feature level."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace

import msgspec
import pytest

from mesh.agent.operations import MemberInfo
from mesh.errors import Conflict
from mesh.http import upgrade
from mesh.http.request import Parts, Request
from mesh.registry import levels
from mesh.registry.port import WriteOptions
from mesh.rpc.servers import ServerTags
from tests.registry_memory import MemoryRegistry

Make = Callable[..., Request]
ALIVE, LEFT, FAILED = 1, 3, 4


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
    found = json.loads((await upgrade.status(request)).body)
    assert (found["Level"], found["LevelMax"]) == (1, 2)
    assert found["WaitingFor"] == ["s2 (level 1)", "s3 (level 1)"]
    assert [one["Name"] for one in found["Servers"]] == ["s1", "s2", "s3"]
    with pytest.raises(Conflict, match=r"s2 \(level 1\), s3 \(level 1\) cannot read it"):
        await upgrade.finalize(request)


async def test_finalizing_again_changes_nothing(request_in: Make, registry: MemoryRegistry) -> None:
    request = request_in(member("s1", 2), member("s2", 2))
    for _ in range(2):
        found = json.loads((await upgrade.finalize(request)).body)
        assert (found["Level"], found["LevelMax"], found["WaitingFor"]) == (2, 2, [])
    assert levels.level_of(registry.database) == 2
    assert [command for command, _ in registry.writes] == [levels.Finalize(2)]
    assert isinstance(registry.writes[0][1], WriteOptions)
