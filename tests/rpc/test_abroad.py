"""Abroad: requests of one datacenter's agent through its server to the servers of another."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import SeededDice
from mesh.connect.certs import Pair, Role, Subject
from mesh.errors import Conflict, Cutoff, Invalid, MeshError, NoPath, OutcomeUnknown, Unreachable
from mesh.raft.node import RAFT_BYTE
from mesh.registry import glance, kv, orders, revocations
from mesh.registry.levels import GLANCES
from mesh.registry.port import STALE, OrderOptions, ReadOptions, ServerStatus, WriteOptions
from mesh.rpc import wire
from mesh.rpc.abroad import AVOID_SECONDS, Remote, _Route
from mesh.rpc.client import Client
from mesh.rpc.listener import Listener
from mesh.rpc.router import AgentRouter
from tests.certificates import CLOCK, Certificates
from tests.rpc.stack import Raw, Serve, Stack, agent, client, until

KEY = kv.Get("a")
THERE = ReadOptions(datacenter="dc2")
PUT = WriteOptions(datacenter="dc2")


def link(home: Stack, *others: Stack, to: str = "dc2") -> None:
    """Tell a server which servers that datacenter has."""
    home.neighbours.known[to] = [Remote(other.address) for other in others]


@pytest.fixture
async def far(serve: Serve) -> Stack:
    return await serve("f1", datacenter="dc2")


@pytest.fixture
def router(server: Stack, far: Stack, asks: Client) -> AgentRouter:
    """An agent of dc1, whose server knows that of dc2."""
    link(server, far)
    return agent(asks, server)


@pytest.fixture
async def trap() -> AsyncIterator[Callable[..., asyncio.Future[str]]]:
    """Starts a server that takes requests and answers none; it hangs, or closes at each."""
    opened: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []

    async def start(*, closes: bool) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            writer.write(wire.frame(wire.Hello(wire.VERSION, "trap", "dc2")))
            await reader.readexactly(1)
            frames = wire.Frames(wire.REQUEST_MAX_BYTES)
            while data := await reader.read(65536):
                asked = [wire.request(body) for body in frames.feed(data)]
                if closes and any(not isinstance(one, wire.Hello) for one in asked):
                    writer.close()

        opened.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        return f"127.0.0.1:{opened[-1].sockets[0].getsockname()[1]}"

    yield start  # type: ignore[misc]  # A coroutine function.
    for writer in writers:
        writer.close()
    for one in opened:
        one.close()


async def test_every_verb_is_done_in_the_datacenter_it_names(
    server: Stack, far: Stack, router: AgentRouter
) -> None:
    applied = server.raft.applied_index
    for asked in (router, server.router):
        assert await asked.write(kv.Set("a", asked.__class__.__name__.encode()), PUT)
        found = await asked.read(KEY, THERE)
        assert found.value is not None
        assert found.value.value == asked.__class__.__name__.encode()
        assert found.index == found.value.modify_index == far.raft.applied_index
        assert (found.known_leader, found.last_contact) == (True, 0.0)
        shown = await asked.operate(orders.RaftConfiguration(), OrderOptions(datacenter="dc2"))
        assert [one.name for one in shown.servers] == ["f1"]
        here = OrderOptions("here", "dc2")
        assert (await asked.operate(orders.OwnStatus(), here)).server.name == "f1"
        assert (await asked.status("dc2")).leader == far.address
        assert (await asked.status("dc1")).leader == server.address
    assert server.raft.applied_index == applied
    assert (await server.router.read(KEY)).value is None
    assert far.sessions == 1  # One connection for all of them.


async def test_what_another_datacenter_refuses_comes_back_as_it_was_said(
    far: Stack, router: AgentRouter
) -> None:
    with pytest.raises(Invalid, match="key: must not be empty"):
        await router.write(kv.Set("", b""), PUT)
    with pytest.raises(MeshError, match="only voter"):
        await router.operate(orders.RemovePeer(id="f1"), OrderOptions(datacenter="dc2"))
    assert len(far.audit) == 1


async def test_what_its_servers_are_too_old_to_know_is_not_asked_of_them(
    server: Stack, far: Stack, router: AgentRouter
) -> None:
    server.neighbours.known["dc2"] = [Remote(far.address, speaks=GLANCES - 1)]
    words = "needs feature level 6: upgrade every server of dc2 first"
    with pytest.raises(Conflict, match=words):
        await router.read(glance.Nodes(), THERE)
    with pytest.raises(Conflict, match=words):
        await router.write(revocations.Revoke("0A"), PUT)
    with pytest.raises(Conflict, match=words):
        await router.operate(orders.DefaultAllow(), OrderOptions(datacenter="dc2"))
    assert isinstance(await router.status("dc2"), ServerStatus)
    assert (await router.read(KEY, THERE)).value is None


async def test_a_blocking_read_wakes_on_a_change_there_and_ends_there_when_cancelled(
    server: Stack, far: Stack, router: AgentRouter
) -> None:
    await router.write(kv.Set("a", b"1"), PUT)
    index = (await router.read(KEY, THERE)).index
    waiting = asyncio.create_task(
        router.read(KEY, ReadOptions(datacenter="dc2", index=index, wait=20.0))
    )
    await until(lambda: far.reader.waiting)
    await server.router.write(kv.Set("a", b"here"))
    await far.router.write(kv.Set("b", b"other"))
    assert not waiting.done()
    await far.router.write(kv.Set("a", b"2"))
    found = await waiting
    assert found.value is not None
    assert found.value.value == b"2"
    again = ReadOptions(datacenter="dc2", index=found.index, wait=20.0)
    waiting = asyncio.create_task(router.read(KEY, again))
    await until(lambda: far.reader.waiting)
    waiting.cancel()
    await until(lambda: not far.reader.waiting)
    short = ReadOptions(datacenter="dc2", index=found.index, wait=0.05)
    assert (await router.read(KEY, short)).index == found.index


async def test_a_watch_follows_another_datacenter(far: Stack, router: AgentRouter) -> None:
    seen = []
    there = ReadOptions("stale", datacenter="dc2")
    async with aclosing(router.watch(KEY, there)) as answers:  # type: ignore[type-var]  # It is a generator.
        async for answer in answers:
            seen.append(answer.value.value if answer.value else None)
            if len(seen) == 3:
                break
            await far.router.write(kv.Set("a", b"%d" % len(seen)))
    assert seen == [None, b"1", b"2"]


async def test_the_next_server_answers_when_one_is_gone(
    serve: Serve, server: Stack, far: Stack, router: AgentRouter
) -> None:
    other = await serve("f2", datacenter="dc2")
    await other.router.write(kv.Set("a", b"other"))
    before = await router.read(KEY, THERE)
    assert before.value is None
    wait = ReadOptions(datacenter="dc2", index=before.index, wait=20.0)
    waiting = asyncio.create_task(router.read(KEY, wait))
    await until(lambda: far.reader.waiting)
    link(server, far, other)
    await far.rpc.stop()
    # It had waited at the one that is gone; the other knows something newer at once.
    found = await asyncio.wait_for(waiting, 5)
    assert found.value is not None
    assert found.value.value == b"other"
    for _ in range(5):
        assert (await router.read(KEY, THERE)).value == found.value


async def test_what_waits_at_a_server_that_gossip_gave_up_goes_elsewhere(
    server: Stack, far: Stack, router: AgentRouter, trap: Callable[..., asyncio.Future[str]]
) -> None:
    hangs = await trap(closes=False)
    server.neighbours.known["dc2"] = [Remote(hangs)]
    waiting = asyncio.create_task(router.read(KEY, THERE))
    route = server.abroad._routes
    await until(lambda: route and route["dc2"].client._connections)
    link(server, far)
    server.abroad.forget(hangs)
    assert (await asyncio.wait_for(waiting, 5)).value is None


async def test_an_unknown_datacenter_is_named_and_a_silent_one_told_apart(
    server: Stack, far: Stack, router: AgentRouter
) -> None:
    server.neighbours.known["dc3"] = []
    await far.rpc.stop()
    for asked in (router, server.router):
        for name in ("mars", "DC2", "", "d\nc", "x" * 300):
            if name:
                with pytest.raises(NoPath, match="No path to datacenter") as refused:
                    await asked.read(KEY, ReadOptions(datacenter=name))
                assert len(refused.value.message) < 100
        for name in ("dc2", "dc3"):
            for attempt in (
                asked.read(KEY, ReadOptions(datacenter=name)),
                asked.write(kv.Set("a", b""), WriteOptions(datacenter=name)),
                asked.operate(orders.OwnStatus(), OrderOptions("here", name)),
                asked.status(name),
            ):
                with pytest.raises(Cutoff, match=f'no server currently reachable: "{name}"'):
                    await attempt
    assert not server.abroad._routes.keys() - {"dc2"}


async def test_a_request_never_leaves_the_datacenter_that_it_was_sent_to(
    server: Stack, far: Stack, router: AgentRouter
) -> None:
    """Gossip may be wrong about who serves what, and two servers about each other."""
    link(server, far, to="dc3")
    link(far, server, to="dc3")
    for attempt in (
        router.read(KEY, ReadOptions(datacenter="dc3")),
        router.write(kv.Set("a", b""), WriteOptions(datacenter="dc3")),
        router.operate(orders.OwnStatus(), OrderOptions("here", "dc3")),
        router.status("dc3"),
    ):
        with pytest.raises(NoPath, match='No path to datacenter "dc3": it was sent to dc2'):
            await attempt
    assert server.rpc.counters["read"] == far.rpc.counters["read"] == 1
    raw = await Raw.open(far)
    raw.send(wire.Read(1, KEY, STALE, abroad=True))
    hello, refused = await raw.replies(2)
    assert isinstance(hello, wire.Hello)
    assert isinstance(refused, wire.Failed)
    assert refused.code == "no-path"
    raw.writer.close()


async def test_a_write_whose_answer_is_lost_is_sent_again_and_done_once(
    server: Stack, far: Stack, router: AgentRouter, trap: Callable[..., asyncio.Future[str]]
) -> None:
    closes = await trap(closes=True)
    server.neighbours.known["dc2"] = [Remote(closes, 0.001), Remote(far.address, 9.0)]
    once = kv.Set("a", b"1", check_index=0)
    assert await router.write(once, WriteOptions(datacenter="dc2", request="one"))
    index = (await router.read(KEY, THERE)).index
    assert await router.write(once, WriteOptions(datacenter="dc2", request="one"))
    assert (await router.read(KEY, THERE)).index == index
    server.neighbours.known["dc2"] = [Remote(closes)]
    with pytest.raises(OutcomeUnknown) as unknown:
        await router.write(kv.Set("a", b"2"), WriteOptions(datacenter="dc2", request="two"))
    assert unknown.value.request == "two"
    with pytest.raises(OutcomeUnknown):
        await router.operate(orders.TransferLeader(), OrderOptions(datacenter="dc2"))


async def test_a_read_that_must_not_take_long_asks_two_servers_then_gives_up(
    server: Stack, far: Stack, router: AgentRouter, trap: Callable[..., asyncio.Future[str]]
) -> None:
    hangs, other = await trap(closes=False), await trap(closes=False)
    server.neighbours.known["dc2"] = [Remote(hangs, 0.001), Remote(far.address, 9.0)]
    soon = ReadOptions("stale", datacenter="dc2", seconds_max=0.6)
    assert (await router.read(KEY, soon)).value is None
    server.neighbours.known["dc2"] = [Remote(hangs), Remote(other)]
    for asked in (router, server.router):
        with pytest.raises((Unreachable, Cutoff)):
            await asyncio.wait_for(asked.read(KEY, soon), 5)


async def test_a_stale_read_is_answered_there_without_a_leader(
    serve: Serve, server: Stack, asks: Client
) -> None:
    follower = await serve("f2", leads=False, datacenter="dc2")
    link(server, follower)
    found = await agent(asks, server).read(KEY, ReadOptions("stale", datacenter="dc2"))
    assert not found.known_leader
    with pytest.raises(MeshError, match="No cluster leader"):
        await agent(asks, server).read(KEY, THERE)
    status = await agent(asks, server).operate(orders.OwnStatus(), OrderOptions("here", "dc2"))
    assert status.server.name == "f2"


async def test_a_datacenter_without_a_leader_still_sends_on_to_others(
    serve: Serve, far: Stack, asks: Client
) -> None:
    home = await serve("s2", leads=False)
    link(home, far)
    router = agent(asks, home)
    assert await router.write(kv.Set("a", b"1"), PUT)
    assert (await router.read(KEY, THERE)).value is not None


async def test_the_nearest_server_is_asked_and_one_that_failed_is_avoided_for_a_while() -> None:
    class Now:
        at = 0.0

        def monotonic(self) -> float:
            return self.at

        def wall(self) -> float:
            return self.at

        async def sleep(self, seconds: float) -> None:
            self.at += seconds

    clock, asks = Now(), client()
    route = _Route(asks, (clock, SeededDice(3)))
    near, close, wide, unknown = (
        Remote("near", 0.010),
        Remote("close", 0.011),
        Remote("wide", 0.3),
        Remote("unknown"),
    )
    every = [wide, unknown, near, close]
    first = route.choose(every)
    assert first in {"near", "close"}
    assert {route.choose(every) for _ in range(20)} == {first}
    route.failed(first)
    second = route.choose(every)
    assert {first, second} == {"near", "close"}
    route.failed(second)
    assert route.choose(every) == "wide"
    route.failed("wide")
    assert route.choose(every) == "unknown"
    route.failed("unknown")
    assert route.choose(every) == first  # The one that failed longest ago.
    clock.at += AVOID_SECONDS
    assert route.choose(every) in {"near", "close"}
    assert {route.choose([Remote("a"), Remote("b")]) for _ in range(5)} <= {"a", "b"}
    assert not route._avoid
    await asks.stop()


# Over TLS


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


@pytest.fixture
async def secure(tmp_path: Path, made: Certificates) -> AsyncIterator[Callable[..., Any]]:
    """Starts a server of a datacenter that leads, with a certificate of its own."""
    stacks: list[Stack] = []

    async def start(name: str, datacenter: str, **options: Any) -> Stack:
        folder = tmp_path / f"{name}-{datacenter}-{len(stacks)}"
        folder.mkdir()
        shown = made.credentials("server", name, dc=datacenter)
        stacks.append(Stack(folder, name, credentials=shown, datacenter=datacenter, **options))
        return await stacks[-1].start()

    yield start
    for stack in stacks:
        await stack.stop()


async def raw_over_tls(
    server: Stack, made: Certificates, pair: Pair, first: bytes = wire.RPC_BYTE
) -> Raw:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(*made.files("raw", pair))
    return await Raw.open(server, first, tls=context)


async def test_servers_of_two_datacenters_believe_each_other(
    made: Certificates, secure: Callable[..., Any]
) -> None:
    home, far = await secure("s1", "dc1"), await secure("s1", "dc2")
    link(home, far)
    shown = client(credentials=made.credentials("client", "a1"))
    try:
        asks = agent(shown, home)
        assert await asks.write(kv.Set("a", b"1"), PUT)
        assert (await asks.read(KEY, THERE)).value is not None
    finally:
        await shown.stop()
    assert (await far.router.read(KEY)).value is not None
    assert (await home.router.read(KEY)).value is None


@pytest.mark.parametrize(
    ("role", "datacenter", "names"),
    [
        ("server", "dc1", ()),
        ("server", "dc3", ()),
        ("client", "dc2", ()),
        ("cli", "dc2", ()),
        ("client", "dc1", ("server.dc2.mesh",)),
        ("cli", "dc1", ("server.dc2.mesh", "server.dc3.mesh")),
        ("cli", "dc1", ("*.dc2.mesh",)),
    ],
)
async def test_only_a_server_of_the_datacenter_meant_gets_its_requests(
    made: Certificates,
    secure: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    role: Role,
    datacenter: str,
    names: tuple[str, ...],
) -> None:
    """Even an authority that signed carelessly makes nobody a server."""
    monkeypatch.setattr(Subject, "_check_modest", lambda *_: None)
    home = await secure("s1", "dc1")
    pair = made.authority.issue(Subject(role, datacenter, "mesh", "", names), CLOCK, 60)
    loaded = made.credentials("server", "s1", dc="dc2")
    loaded.listening.load_cert_chain(*made.files("impostor", pair))
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heard.append(await reader.read(1))
        finally:
            writer.transport.abort()

    impostor = Listener(serve, loaded, Counter())
    port = impostor.start("127.0.0.1", 0)
    home.neighbours.known["dc2"] = [Remote(f"127.0.0.1:{port}")]
    try:
        with pytest.raises(Cutoff, match="the certificate"):
            await home.router.write(kv.Set("a", b"1"), PUT)
    finally:
        await until(lambda: not impostor.accepting.handshakes)
        await impostor.stop()
    assert set(heard) <= {b""}


async def test_a_server_of_another_datacenter_may_only_send_on_requests_for_this_one(
    made: Certificates, secure: Callable[..., Any]
) -> None:
    home = await secure("s1", "dc1")
    theirs = made.issue("server", "s1", dc="dc2")
    raw = await raw_over_tls(home, made, theirs)
    raw.send(wire.Write(1, kv.Set("a", b"1"), WriteOptions("dc1", request="r"), abroad=True))
    raw.send(wire.Read(2, KEY, ReadOptions(datacenter="dc2"), abroad=True))
    replies = {
        reply.id: reply for reply in await raw.replies(3) if not isinstance(reply, wire.Hello)
    }
    assert isinstance(replies[1], wire.Wrote)
    assert isinstance(replies[2], wire.Failed)
    raw.writer.close()
    here = ReadOptions(datacenter="dc1")
    refused: list[wire.Request] = [
        wire.Read(1, KEY, here),
        wire.Read(1, KEY, here, forwarded=True),
        wire.Read(1, KEY, here, forwarded=True, abroad=True),
        wire.Watch(1, KEY, here),
        wire.AskStatus(1),
    ]
    for message in refused:
        raw = await raw_over_tls(home, made, theirs)
        raw.send(message)
        assert await raw.closed(), message
    raw = await raw_over_tls(home, made, theirs, RAFT_BYTE)
    assert await raw.closed()
    for pair in (
        made.issue("client", "a1"),
        made.issue("client", "a1", dc="dc2"),
        made.issue("cli", dc="dc2"),
    ):
        raw = await raw_over_tls(home, made, pair)
        raw.send(wire.Read(1, KEY, here, abroad=True))
        assert await raw.closed()
    await until(lambda: home.rpc.counters["denied"] == len(refused) + 4)
    assert home.rpc.counters["read"] == 1


async def test_without_a_wan_pool_no_other_datacenter_is_heard(
    made: Certificates, secure: Callable[..., Any]
) -> None:
    alone = await secure("s1", "dc1", federated=False)
    raw = await raw_over_tls(alone, made, made.issue("server", "s1", dc="dc2"))
    raw.send(wire.Read(1, KEY, ReadOptions(datacenter="dc1"), abroad=True))
    assert await raw.closed()
    await until(lambda: alone.rpc.counters["denied"] == 1)


async def test_a_server_of_another_datacenter_is_no_peer_in_the_log(
    made: Certificates, secure: Callable[..., Any]
) -> None:
    home, far = await secure("s1", "dc1"), await secure("s2", "dc2")
    ours, theirs = home.raft.identity, made.credentials("server", "s1", dc="dc1")
    assert ours is not None
    # Calling it as a peer fails too, whatever its node is called.
    with pytest.raises(Unreachable, match="certificate"):
        await theirs.connect("127.0.0.1", far.rpc.port, "s2")
