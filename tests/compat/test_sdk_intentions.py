"""Config entries and intentions through the Python client, over a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mesh.client import Settings
from mesh.client.aio import AsyncClient
from mesh.client.intention import Asked, Intention
from mesh.errors import Internal, Invalid
from mesh.registry.levels import HIGHEST, Found
from tests.compat.conftest import Api

HTTP = {"Kind": "service-defaults", "Name": "db", "Protocol": "http"}


@pytest.fixture
async def client(api: Api) -> AsyncIterator[AsyncClient]:
    await api.registry.write(Found(HIGHEST))
    host, port = api.address
    async with AsyncClient(Settings(address=f"{host}:{port}")) as client:
        yield client


async def test_entries(client: AsyncClient) -> None:
    config = client.config
    assert await config.write(HTTP)
    assert not await config.write(HTTP, cas=0)
    found = (await config.read("service-defaults", "db")).value
    assert found is not None
    assert found["Protocol"] == "http"
    assert (await config.read("service-defaults", "none")).value is None
    assert [one["Name"] for one in (await config.listed("service-defaults")).value] == ["db"]
    assert not await config.delete("service-defaults", "db", cas=1)
    assert await config.delete("service-defaults", "db")
    with pytest.raises(Invalid, match="did you mean Protocol"):
        await config.write({**HTTP, "Protocl": "http"})


async def test_intentions(client: AsyncClient) -> None:
    intention = client.intention
    await client.config.write(HTTP)
    allowed = Intention(source_name="web", destination_name="db", action="allow", owner="me")
    assert await intention.put(allowed)
    with pytest.raises(Internal, match='belongs to "me"'):
        await intention.delete("web", "db")
    permission = {"Action": "deny", "HTTP": {"PathPrefix": "/a", "Methods": ["GET"]}}
    tried = Intention(
        source_name="web", destination_name="db", permissions=[permission], dry_run=True
    )
    assert await intention.put(tried)
    asked = Asked(method="GET", path="/a", headers=[("x", "y")])
    assert (await intention.check("web", "db", asked)).allowed
    verdict = await intention.check("web", "db", asked, dry_run=True)
    assert (verdict.allowed, verdict.rule) == (
        False,
        "service-intentions/db Sources[web].Permissions[0]",
    )
    found = (await intention.get("web", "db", dry_run=True)).value
    assert found is not None
    assert found.permissions == [permission]
    assert len((await intention.listed()).value) == 1
    assert len((await intention.match("web", "source", dry_runs=True)).value) == 2
    assert await intention.promote("web", "db", owner="me")
    identity = await intention.create(
        Intention(source_name="api", destination_name="db", action="deny", meta={"a": "b"})
    )
    made = (await intention.get_by_id(identity)).value
    assert made is not None
    assert (made.meta, made.created_at > "2026") == ({"a": "b"}, True)
    assert await intention.delete_by_id(identity)
    assert (await intention.get_by_id(identity)).value is None
    assert await intention.delete("web", "db", force=True)
    assert (await intention.listed()).value == []
