"""Two real sidecars that speak HTTP: what they let through, and what becomes of that on changes."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from msgspec.structs import replace

from mesh.connect.credentials import Leaf
from mesh.connect.xds import messages
from mesh.connect.xds.blueprint import AccessLog, Endpoint
from mesh.connect.xds.server import STREAMS_PER_PROXY
from mesh.connect.xds.snapshot import LISTENER
from mesh.registry.intentions import (
    Claim,
    HttpMatch,
    Intention,
    JwtNeed,
    Permission,
    Policy,
)
from tests.connect.xds.sidecars import CLOCK, PATIENCE_SECONDS, Mesh, until
from tests.connect.xds.signing import TRUST, Issuer, Signer

pytestmark = [pytest.mark.together, pytest.mark.asyncio(loop_scope="module")]
OPEN = Policy(destination="payments")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Mesh]:
    found = Mesh()
    try:
        await found.start()
        yield found
    finally:
        await found.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def mesh(shared: Mesh) -> AsyncIterator[Mesh]:
    """As it was at first."""
    before = dict(shared.blueprints)
    yield shared
    for name, blueprint in before.items():
        shared.blueprints[name] = blueprint
        await shared.changed(name)


def intention(**fields: Any) -> Intention:
    return Intention(source="web", destination="payments", precedence=9, **fields)


def policy(*intentions: Intention, **fields: Any) -> Policy:
    return Policy(destination="payments", intentions=[*intentions], **fields)


class Load:
    """Requests without pause on a few connections."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self.statuses: list[int] = []
        self.failures: list[Exception] = []
        self.ended = False

    async def run(self) -> None:
        while not self.ended:
            try:
                self.statuses.append((await self._mesh.get())[0])
            except aiohttp.ClientError as error:
                self.failures.append(error)

    async def go_on(self, count: int = 25) -> None:
        wanted = len(self.statuses) + count
        await until(lambda: len(self.statuses) >= wanted or self.failures, "requests go on")


@asynccontextmanager
async def load(mesh: Mesh) -> AsyncIterator[Load]:
    """Requests all the time, none of which may fail."""
    found = Load(mesh)
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(found.run())
        try:
            await found.go_on()
            yield found
            await found.go_on()
        finally:
            found.ended = True
    assert not found.failures
    assert {*found.statuses} == {200}


async def test_a_call_goes_through_both_sidecars_and_says_who_calls(mesh: Mesh) -> None:
    status, text = await mesh.get("/a?b=c")
    told = json.loads(text)
    assert (status, told["app"], told["path"]) == (200, "payments", "/a?b=c")
    caller = told["headers"]["x-forwarded-client-cert"]
    assert f"URI={mesh.blueprints['web'].leaf.uri}" in caller  # type: ignore[union-attr]


async def test_a_deny_bites_on_a_warm_connection_once_it_is_accepted(mesh: Mesh) -> None:
    denied = policy(intention(action="deny"))
    assert (await mesh.get())[0] == 200
    before = await mesh.envoys["web"].stats("internal.*upstream_cx_total")
    for _ in range(3):
        assert (await mesh.get())[0] == 200
        assert (await mesh.changed("payments", policy=denied)).refusals == 0
        assert (await mesh.get())[0] == 403
        await mesh.changed("payments", policy=OPEN)
    assert await mesh.envoys["web"].stats("internal.*upstream_cx_total") == before


async def test_no_request_of_many_connections_is_judged_by_the_old_rule_after_the_ack(
    mesh: Mesh,
) -> None:
    judged: list[tuple[float, int]] = []
    ended = asyncio.Event()

    async def ask() -> None:
        while not ended.is_set():
            began = CLOCK.monotonic()
            judged.append((began, (await mesh.get())[0]))

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(ask())
        try:
            for turn in range(6):
                wanted = [403, 200][turn % 2]
                rules = [OPEN, policy(intention(action="deny"))][wanted == 403]
                await mesh.changed("payments", policy=rules)
                accepted, seen = CLOCK.monotonic(), len(judged)
                await until(lambda seen=seen: len(judged) > seen + 60, "requests go on")  # type: ignore[misc]
                later = {status for began, status in judged[seen:] if began > accepted}
                assert later == {wanted}
        finally:
            ended.set()


async def test_sidecars_speak_http2_between_them(mesh: Mesh) -> None:
    await mesh.get()
    stats = await mesh.envoys["payments"].stats("http.public_listener.downstream_cx_http")
    assert stats["http.public_listener.downstream_cx_http2_active"] >= 1
    assert not stats["http.public_listener.downstream_cx_http1_active"]


async def test_a_service_that_is_registered_in_another_case_is_the_same(mesh: Mesh) -> None:
    (upstream,) = mesh.blueprints["web"].upstreams
    # Another cluster has connections of its own, and so the new leaf.
    other = replace(upstream, service="PAYMENTS", port=mesh.spare)
    await mesh.changed("web", leaf=mesh.signer.leaf("WEB"), upstreams=[upstream, other])
    assert (await mesh.get(port=mesh.spare))[0] == 200
    denied = policy(intention(action="deny"))
    await mesh.changed("payments", policy=denied)
    assert (await mesh.get(port=mesh.spare))[0] == 403


async def test_websockets_pass_through_both_sidecars(mesh: Mesh) -> None:
    assert mesh.http is not None
    async with mesh.http.ws_connect(f"http://127.0.0.1:{mesh.entrance}/echo") as talk:
        await talk.send_str("hello")
        assert await talk.receive_str(timeout=60) == "hello"


async def test_default_deny_lets_nobody_in_without_an_intention(mesh: Mesh) -> None:
    await mesh.changed("payments", default_allow=False)
    assert (await mesh.get())[0] == 403
    await mesh.changed("payments", policy=policy(intention(action="allow")))
    assert (await mesh.get())[0] == 200


async def test_permissions_look_at_path_method_and_header(mesh: Mesh) -> None:
    admin = Permission(action="deny", http=HttpMatch(path_prefix="/admin"))
    read = Permission(action="allow", http=HttpMatch(methods=["GET"]))
    await mesh.changed(
        "payments", policy=policy(intention(permissions=[admin, read])), default_allow=False
    )
    assert (await mesh.get("/"))[0] == 200
    assert (await mesh.get("/", method="POST"))[0] == 403
    assert (await mesh.get("/admin/x"))[0] == 403
    assert (await mesh.get("/x/../admin"))[0] == 403


async def test_what_is_only_tried_is_counted_and_enforced_by_nobody(mesh: Mesh) -> None:
    tried = policy(intention(action="deny", dry_run=True))
    await mesh.changed("payments", policy=tried)
    counter = "http.public_listener.rbac.dry_run_.shadow_denied"
    before = (await mesh.envoys["payments"].stats("shadow_denied")).get(counter, 0)
    assert (await mesh.get())[0] == 200
    assert (await mesh.envoys["payments"].stats("shadow_denied"))[counter] == before + 1


async def test_endpoints_come_and_go_under_load_without_a_failed_request(mesh: Mesh) -> None:
    (upstream,) = mesh.blueprints["web"].upstreams
    (first,) = upstream.endpoints
    nobody = Endpoint(first.address, first.port, healthy=False)
    async with load(mesh) as requests:
        for turn in range(10):
            weighted = replace(first, weight=turn + 2)
            await mesh.changed("web", upstreams=[replace(upstream, endpoints=[weighted])])
            both = [replace(nobody, address="127.0.0.2"), weighted]
            await mesh.changed("web", upstreams=[replace(upstream, endpoints=both)])
            limits = replace(upstream.limits, requests=2000 + turn)
            await mesh.changed("web", upstreams=[replace(upstream, limits=limits)])
            await requests.go_on(5)


async def test_an_instance_that_died_unnoticed_costs_no_request(mesh: Mesh) -> None:
    (upstream,) = mesh.blueprints["web"].upstreams
    dead = replace(upstream.endpoints[0], port=mesh.spare)
    async with load(mesh) as requests:
        await mesh.changed(
            "web", upstreams=[replace(upstream, endpoints=[*upstream.endpoints, dead])]
        )
        await requests.go_on(100)


async def test_leaves_change_under_load_without_a_failed_request(mesh: Mesh) -> None:
    async with load(mesh) as requests:
        for _ in range(3):
            for name in ("web", "payments"):
                await mesh.changed(name, leaf=mesh.signer.leaf(name))
            await requests.go_on()


async def test_the_root_changes_under_load_without_a_failed_request(mesh: Mesh) -> None:
    new = Signer("root-2")
    async with load(mesh) as requests:
        for bundle, signer in [
            (mesh.signer.bundle(new), None),
            (new.bundle(mesh.signer), new),
            (new.bundle(), None),
        ]:
            for name in ("web", "payments"):
                leaf: dict[str, Leaf] = {"leaf": signer.leaf(name)} if signer else {}
                await mesh.changed(name, bundle=bundle, **leaf)
            await requests.go_on()


async def test_the_discovery_service_restarts_under_load_and_sends_nothing_again(
    mesh: Mesh,
) -> None:
    async with load(mesh) as requests:
        await mesh.restart_xds()
        await requests.go_on()
        for name in ("web", "payments"):
            status = await mesh.settled(name)
            assert (status.resources_sent, status.refusals) == (0, 0)
    denied = policy(intention(action="deny"))
    await mesh.changed("payments", policy=denied)
    assert (await mesh.get())[0] == 403


# Who is not let in.


async def _handshake(mesh: Mesh, leaf: Leaf | None) -> bytes:
    """Connect to the public listener as somebody else; what comes back to a request."""
    inbound = mesh.blueprints["payments"].inbound
    assert inbound is not None
    context: ssl.SSLContext | None = None
    if leaf is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        file = mesh.folder / "stranger.pem"
        file.write_text(leaf.certificate + leaf.key)
        context.load_cert_chain(file)
    reader, writer = await asyncio.open_connection("127.0.0.1", inbound.port, ssl=context)
    try:
        writer.write(b"GET / HTTP/1.1\r\nhost: payments\r\nconnection: close\r\n\r\n")
        return await reader.read()
    finally:
        writer.close()


async def test_who_has_no_leaf_of_the_trust_domain_gets_no_answer(mesh: Mesh) -> None:
    assert (await _handshake(mesh, mesh.signer.leaf("web"))).startswith(b"HTTP/1.1 200")
    trust = mesh.signer.trust_domain
    foreign = mesh.signer.leaf("web", "spiffe://other.consul/ns/default/dc/dc1/svc/web")
    agent = mesh.signer.leaf("web", f"spiffe://{trust}/agent/client/dc/dc1/id/node-1")
    unknown = Signer().leaf("web")
    for leaf in (foreign, agent, unknown):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await _handshake(mesh, leaf)
    try:
        answer = await _handshake(mesh, None)
    except ConnectionError:
        answer = b""
    assert answer == b""


async def test_an_instance_that_is_another_service_is_not_called(mesh: Mesh) -> None:
    (upstream,) = mesh.blueprints["web"].upstreams
    wrong = replace(upstream, service="orders", port=mesh.spare)
    await mesh.changed("web", upstreams=[upstream, wrong])
    before = mesh.apps["payments"].requests
    assert (await mesh.get(port=mesh.spare))[0] == 503
    assert mesh.apps["payments"].requests == before


# What is refused.


async def test_a_refused_upstream_keeps_nothing_else_back_and_says_its_cause(mesh: Mesh) -> None:
    (upstream,) = mesh.blueprints["web"].upstreams
    bad = json.dumps({"type": "STATIC", "connect_timeout": "1s", "lb_policy": "CLUSTER_PROVIDED"})
    broken = replace(
        upstream, service="orders", port=mesh.spare, config={"envoy_cluster_json": bad}
    )
    mesh.change("web", upstreams=[broken, upstream])
    await until(lambda: _refused(mesh, "web"), "it is refused")
    (refused,) = _refused(mesh, "web")
    assert refused.origin == "upstream orders: envoy_cluster_json"
    assert refused.error
    deny = policy(intention(action="deny"))
    await mesh.changed("payments", policy=deny)
    assert (await mesh.get())[0] == 403
    await mesh.changed("web", upstreams=[upstream])
    assert not _refused(mesh, "web")


def _refused(mesh: Mesh, proxy: str) -> list[Any]:
    status = mesh.status(proxy)
    return [one for kind in status.kinds for one in kind.refused] if status else []


# Tokens.

PROVIDER = "okta"


async def _bearer(mesh: Mesh, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return (await mesh.get(headers=headers))[0]


async def test_tokens_and_their_claims_decide(mesh: Mesh) -> None:
    issuer, other = Issuer(PROVIDER), Issuer(PROVIDER)
    admin = JwtNeed(provider=PROVIDER, claims=[Claim(path=["team", "role"], value="admin")])
    permission = Permission(action="allow", jwt=[admin])
    await mesh.changed(
        "payments",
        policy=policy(intention(permissions=[permission])),
        default_allow=False,
        jwt_providers=[issuer.provider],
    )
    assert await _bearer(mesh, issuer.token(team={"role": "admin"})) == 200
    assert await _bearer(mesh, issuer.token(team={"role": "guest"})) == 403
    assert await _bearer(mesh, other.token(team={"role": "admin"})) == 403
    assert await _bearer(mesh, "") == 403


async def test_a_destination_may_want_a_token_with_every_request(mesh: Mesh) -> None:
    issuer = Issuer(PROVIDER)
    need = JwtNeed(provider=PROVIDER, claims=[Claim(path=["role"], value="admin")])
    await mesh.changed("payments", policy=policy(jwt=[need]), jwt_providers=[issuer.provider])
    assert await _bearer(mesh, issuer.token(role="admin")) == 200
    assert await _bearer(mesh, issuer.token(role="guest")) == 403
    assert await _bearer(mesh, "") == 401


async def test_programs_of_one_service_may_have_many_streams(mesh: Mesh) -> None:
    def named(node: str) -> Any:
        return messages.DiscoveryRequest(node={"id": node}, type_url=LISTENER, resource_names="x")

    def streams(node: str) -> int:
        return len(mesh.xds.streams(node))

    async with grpc.aio.insecure_channel(mesh.address) as channel:
        method = channel.stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
            messages.DiscoveryRequest.SerializeToString,
        )
        calls = [method() for _ in range(STREAMS_PER_PROXY + 4)]
        for call in calls:
            await call.write(named("grpc:web"))
        await until(lambda: streams("grpc:web") == len(calls), "all streams")
        for call in calls:
            call.cancel()
    await until(lambda: streams("grpc:web") == 0, "no stream")


async def test_logs_know_the_caller_whatever_he_says_of_himself(mesh: Mesh) -> None:
    file = mesh.folder / "access"
    parts = ("trust-domain", "datacenter", "service")
    text = " ".join(f"%DYNAMIC_METADATA(consul:{part})%" for part in parts)
    log = AccessLog(kind="file", path=str(file), text_format=f"{text}\n")
    await mesh.changed("payments", access_log=log)
    mine = "spiffe://other/ns/default/dc/dc9/svc/admin"
    async with asyncio.timeout(PATIENCE_SECONDS):  # The open connection knows the log before.
        while not file.exists() or not file.read_text():
            _, told = await mesh.get(headers={"x-mesh-caller": mine})
            assert "x-mesh-caller" not in json.loads(told)["headers"]
            await asyncio.sleep(0.02)
    assert {*file.read_text().splitlines()} == {f"{TRUST} dc1 web"}
