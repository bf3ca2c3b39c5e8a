"""Two real sidecars that look at connections only, and listeners of several kinds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from msgspec.structs import replace

from mesh.connect.intentions import Request, decide
from mesh.connect.xds.blueprint import Exposed
from mesh.connect.xds.refusals import CUT_SECONDS
from mesh.connect.xds.seen import Seen
from mesh.connect.xds.snapshot import FILTER
from mesh.registry.intentions import HttpMatch, Intention, JwtNeed, Permission, Policy
from tests.connect.xds.guesses import CALLERS, Caller, Guess
from tests.connect.xds.sidecars import CLOCK, Mesh, free_port, until
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


class Line:
    """A connection of `web` to `payments` that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def asks(self) -> None:
        """Fails when it is not open."""
        self._writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        _, _, rest = head.lower().partition(b"content-length: ")
        await self._reader.readexactly(int(rest.split()[0]))

    async def ends(self) -> None:
        """Return when it was cut."""
        ended = asyncio.create_task(self._reader.read())
        await until(ended.done, "the connection ends")
        with contextlib.suppress(OSError):
            await ended

    def close(self) -> None:
        self._writer.close()


@contextlib.asynccontextmanager
async def line_of(mesh: Mesh) -> AsyncIterator[Line]:
    line = Line(*await asyncio.open_connection("127.0.0.1", mesh.entrance))
    try:
        await line.asks()
        yield line
    finally:
        line.close()


async def _chains_left(mesh: Mesh) -> int:
    """How often connections of `payments` were told to end."""
    name = "listener_manager.listener_in_place_updated"
    return (await mesh.envoys["payments"].stats(name)).get(name, 0)


DENY, ALLOW = _intention(action="deny"), _intention(action="allow")
OTHER = Intention(source="api", destination="payments", action="deny")
OTHER_ALLOWED = Intention(source="api", destination="payments", action="allow")
REST = Intention(source="*", destination="payments", action="deny")
TRIED = _intention(action="deny", dry_run=True)


async def test_a_connection_ends_when_somebody_is_denied_and_only_then(mesh: Mesh) -> None:
    await _set(mesh, _policy(ALLOW, REST))
    before = await _chains_left(mesh)
    async with line_of(mesh) as line:
        for policy in [
            _policy(OTHER, ALLOW, REST),
            _policy(OTHER_ALLOWED, ALLOW, REST),
            _policy(OTHER_ALLOWED),
            _policy(TRIED),
        ]:
            await _set(mesh, policy)
            assert await _chains_left(mesh) == before
            await line.asks()
        await _set(mesh, _policy(DENY))
        assert await _chains_left(mesh) == before + 1
        await line.ends()
    await _set(mesh, _policy())
    # What was denied, allowed and denied again ends again.
    async with line_of(mesh) as line:
        await _set(mesh, _policy(DENY))
        await line.ends()
    assert not await _passes(mesh)


async def test_connections_that_end_are_told_of_with_when_and_whose(mesh: Mesh) -> None:
    await _set(mesh, _policy())
    async with line_of(mesh) as line:
        began = CLOCK.wall()
        # What is younger comes again at once, and is told of then.
        await until(lambda: CLOCK.wall() > began + CUT_SECONDS, "it has lasted")
        since = CLOCK.wall()
        await _set(mesh, _policy(DENY))
        await line.ends()

    def told() -> list[Seen]:
        return [one for one in mesh.told if one.ended and one.at >= since]

    await until(told, "it is told")
    (one,) = told()
    assert one.caller.endswith("/svc/web")
    assert one.at <= CLOCK.wall()


async def test_what_is_refused_or_only_tried_is_told(mesh: Mesh) -> None:
    for policy, denied, shadow in [(_policy(DENY), True, ""), (_policy(TRIED), False, "denied")]:
        await _set(mesh, policy)
        since = CLOCK.wall()
        assert await _passes(mesh) is not denied

        def told(since: float = since) -> set[tuple[bool, str]]:
            # What was told before may come only now.
            return {
                (one.denied, one.shadow) for one in mesh.told if one.at >= since and not one.ended
            }

        await until(told, "it is told")
        assert told() == {(denied, shadow)}


async def test_it_ends_by_the_state_of_the_world_too() -> None:
    mesh = Mesh("tcp", "GRPC")
    try:
        await mesh.start()
        await _set(mesh, _policy(OTHER))
        async with line_of(mesh) as line:
            await _set(mesh, _policy())
            await line.asks()
            await _set(mesh, _policy(DENY))
            await line.ends()
        assert not await _passes(mesh)
    finally:
        await mesh.stop()


async def test_connections_outlive_another_agent_that_knows_what_they_were_judged_by(
    mesh: Mesh,
) -> None:
    await _set(mesh, _policy(DENY))
    await _set(mesh, _policy())
    before = await _chains_left(mesh)
    async with line_of(mesh) as line:
        await mesh.restart_xds()
        await mesh.settled("payments")
        assert await _chains_left(mesh) == before
        await line.asks()


async def test_nobody_passes_as_long_as_the_rules_are_not_there(mesh: Mesh) -> None:
    await _set(mesh, _policy())
    snapshot = mesh.snapshots["payments"]
    assert snapshot.judged is not None
    lost = {kind: found for kind, found in snapshot.resources.items() if kind != FILTER}
    mesh.envoys["payments"].stop()
    mesh.xds.put("payments", replace(snapshot, resources=lost))
    envoy = mesh.envoys["payments"] = mesh.envoy("payments")
    await until(lambda: _is_told(mesh), "it has its listener")
    assert not await _passes(mesh)
    mesh.xds.put("payments", snapshot)
    await mesh.settled("payments")
    await mesh.ready(envoy)
    assert await _passes(mesh)


def _is_told(mesh: Mesh) -> bool:
    found = mesh.status("payments")
    listeners = [one for one in found.kinds if one.kind == "listeners"] if found else []
    return any(one.accepted for one in listeners)


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
