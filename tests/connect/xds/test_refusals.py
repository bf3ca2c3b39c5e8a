"""Real sidecars tell of the calls that rules refuse, or would, and of no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from msgspec.structs import replace

from mesh.connect.xds.blueprint import AccessLog
from mesh.connect.xds.messages import StreamAccessLogsMessage, readable
from mesh.connect.xds.resources import build
from mesh.connect.xds.seen import Seen
from mesh.connect.xds.server import LOG_SECONDS, XdsServer
from mesh.connect.xds.snapshot import LISTENER
from mesh.registry.intentions import HttpMatch, Intention, JwtNeed, Permission, Policy
from tests.connect.hand import HandClock
from tests.connect.xds.sidecars import Mesh, until
from tests.connect.xds.signing import Issuer

pytestmark = [pytest.mark.together, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh() -> AsyncIterator[Mesh]:
    found = Mesh()
    try:
        await found.start()
        yield found
    finally:
        await found.stop()


def policy(*intentions: Intention, jwt: list[JwtNeed] | None = None) -> Policy:
    return Policy(destination="payments", intentions=[*intentions], jwt=jwt or [])


def denied(path: str, *, dry_run: bool = False) -> Intention:
    rules = [Permission(action="deny", http=HttpMatch(path_prefix=path))]
    return Intention(source="web", destination="payments", permissions=rules, dry_run=dry_run)


async def next_told(mesh: Mesh) -> Seen:
    await until(lambda: mesh.told, "it is told")
    return mesh.told.pop(0)


async def test_only_what_rules_refuse_is_told(mesh: Mesh) -> None:
    await mesh.changed("payments", policy=policy(denied("/admin")))
    statuses = [
        (await mesh.get(path))[0]
        for path in ("/", "/a?status=403", "/a?status=401", "/x/../admin/keys?secret")
    ]
    assert statuses == [200, 403, 401, 403]
    told = await next_told(mesh)
    assert told.caller.endswith("/svc/web")
    assert (told.denied, told.shadow, told.by_token) == (True, "", False)
    assert (told.method, told.path) == ("GET", "/admin/keys?secret")
    assert mesh.told == []


async def test_what_is_only_tried_is_told_both_ways(mesh: Mesh) -> None:
    freed = Intention(source="web", destination="payments", action="allow", dry_run=True)
    for rules, status, shadow in [
        ([denied("/admin", dry_run=True)], 200, "denied"),
        ([freed, denied("/admin")], 403, "allowed"),
    ]:
        await mesh.changed("payments", policy=policy(*rules))
        assert (await mesh.get("/admin", "DELETE"))[0] == status
        told = await next_told(mesh)
        assert (told.denied, told.shadow, told.method) == (status == 403, shadow, "DELETE")
        assert mesh.told == []


async def test_the_lack_of_a_token_is_told(mesh: Mesh) -> None:
    issuer = Issuer("okta")
    rules = policy(jwt=[JwtNeed(provider="okta")])
    await mesh.changed("payments", policy=rules, jwt_providers=[issuer.provider])
    assert (await mesh.get("/"))[0] == 401
    good = {"Authorization": f"Bearer {issuer.token()}"}
    assert (await mesh.get("/?status=401", headers=good))[0] == 401
    assert (await next_told(mesh)).by_token
    assert mesh.told == []


async def test_logs_that_users_want_hear_of_the_ends_of_connections_only(mesh: Mesh) -> None:
    before = mesh.blueprints["payments"]
    assert before.inbound is not None
    for dry_run in (False, True):
        one = Intention(source="web", destination="payments", action="deny", dry_run=dry_run)
        blueprint = replace(
            before,
            inbound=replace(before.inbound, protocol="tcp"),
            access_log=AccessLog(),
            policy=policy(one),
        )
        (listener,) = build(blueprint).of(LISTENER).values()
        proxy = readable(listener)["filter_chains"][0]["filters"][-1]["typed_config"]
        assert "access_log_options" in proxy
        filters = [str(log.get("filter")) for log in proxy["access_log"]]
        assert ["TcpPeriodic" in text for text in filters] == [True, False, False]


class Log:
    """A stream of messages about so many calls each, as the server is given it."""

    def __init__(self, count: int, calls: int) -> None:
        message = StreamAccessLogsMessage()
        for _ in range(calls):
            message.http_logs.log_entry.add()
        self.messages: list[Any] = [message] * count

    async def read(self) -> Any:
        return self.messages.pop() if self.messages else grpc.aio.EOF


async def test_a_flood_of_refusals_is_read_at_a_bounded_rate() -> None:
    clock, read = HandClock(1000.0), list[Any]()
    server = XdsServer(clock, logged=lambda _, message: read.append(message))
    tasks = [asyncio.create_task(server._read_log(None, Log(3, 100))) for _ in range(2)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(read) == 2
    for expected in (3, 4, 5, 6):
        # The logs share the time: each goes on when all that was read before is paid for.
        await clock.advance(101 * LOG_SECONDS)
        assert len(read) == expected
    await clock.advance(2.0)
    await asyncio.gather(*tasks)
