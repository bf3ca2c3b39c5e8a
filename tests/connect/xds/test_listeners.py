"""Two real sidecars that look at connections only, and listeners of several kinds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from msgspec.structs import replace

from mesh.connect.intentions import Request, decide
from mesh.connect.xds.blueprint import Exposed
from mesh.registry.intentions import HttpMatch, Intention, JwtNeed, Permission, Policy
from tests.connect.xds.guesses import CALLERS, Caller, Guess
from tests.connect.xds.sidecars import Mesh, free_port, until
from tests.connect.xds.signing import Issuer

pytestmark = [pytest.mark.together, pytest.mark.asyncio(loop_scope="module")]
POLICIES = 60


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh() -> AsyncIterator[Mesh]:
    found = Mesh("tcp")
    try:
        await found.start()
        yield found
    finally:
        await found.stop()


async def _passes(mesh: Mesh) -> bool:
    """Whether a new connection does."""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(f"http://127.0.0.1:{mesh.entrance}/") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


def _policy(*intentions: Intention, **fields: list[JwtNeed]) -> Policy:
    return Policy(destination="payments", intentions=[*intentions], **fields)


async def _set(mesh: Mesh, policy: Policy, *, default_allow: bool = True) -> None:
    await mesh.changed("payments", policy=policy, default_allow=default_allow)


def _intention(**fields: object) -> Intention:
    return Intention(source="web", destination="payments", **fields)  # type: ignore[arg-type]


async def test_new_connections_are_judged_as_soon_as_the_listener_is_accepted(
    mesh: Mesh,
) -> None:
    deny, allow = _intention(action="deny"), _intention(action="allow")
    other = Intention(source="*", destination="payments", action="deny")
    for policy, default_allow, passes in [
        (_policy(), True, True),
        (_policy(deny), True, False),
        (_policy(allow, other), True, True),
        (_policy(other), True, False),
        (_policy(), False, False),
        (_policy(allow), False, True),
        (_policy(_intention(action="deny", dry_run=True)), True, True),
    ]:
        await _set(mesh, policy, default_allow=default_allow)
        assert await _passes(mesh) == passes


async def test_envoy_and_the_evaluator_decide_alike_about_connections(mesh: Mesh) -> None:
    guess = Guess(7, Issuer("okta"))
    callers = [Caller(mesh, name) for name in CALLERS]
    request = Request(headers=[("host", "payments")])
    for _ in range(POLICIES):
        policy, default_allow = guess.policy(), guess.random.random() < 0.5
        await _set(mesh, policy, default_allow=default_allow)
        for caller in callers:
            try:
                passes = await caller.ask(request) == 200
            except (asyncio.IncompleteReadError, OSError):
                passes = False
            caller.close()
            decision = decide(policy, caller.name, None, default_allow)
            assert passes == decision.allowed, f"{caller.name}: {decision}\n{policy}"


async def test_what_permissions_or_tokens_are_about_is_denied(mesh: Mesh) -> None:
    read = Permission(action="allow", http=HttpMatch(methods=["GET"]))
    await _set(mesh, _policy(_intention(permissions=[read])))
    assert not await _passes(mesh)
    await _set(mesh, _policy(jwt=[JwtNeed(provider="okta")]))
    assert not await _passes(mesh)


async def test_a_connection_that_is_denied_is_cut_when_the_drain_is_over(mesh: Mesh) -> None:
    await _set(mesh, _policy())
    reader, writer = await asyncio.open_connection("127.0.0.1", mesh.entrance)
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await _set(mesh, _policy(_intention(action="deny")))
    ended = asyncio.create_task(reader.read())
    await until(ended.done, "the connection ends")
    await ended
    writer.close()


async def test_an_exposed_path_is_open_and_nothing_beside_it(mesh: Mesh) -> None:
    await _set(mesh, _policy(), default_allow=False)
    inbound = mesh.blueprints["payments"].inbound
    assert inbound is not None
    port = free_port()
    exposed = Exposed(
        path="/health", local_port=inbound.local_port, listener_port=port, for_checks=True
    )
    await mesh.changed("payments", inbound=replace(inbound, exposed=[exposed]))
    assert (await mesh.get("/health", port=port))[0] == 200
    for path in ("/", "/health/x", "/x/../healthy"):
        assert (await mesh.get(path, port=port))[0] == 404
    await mesh.changed("payments", inbound=inbound)
