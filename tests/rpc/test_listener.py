"""Mutual TLS on the server port: strangers are refused, counted, and nothing of theirs is done."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mesh import accepting
from mesh.codec import pack
from mesh.connect.certs import Pair
from mesh.errors import MeshError, OutcomeUnknown, Unreachable
from mesh.raft import succession
from mesh.raft.epochs import Peer
from mesh.raft.node import RAFT_BYTE
from mesh.raft.transport import pack_frame
from mesh.registry import kv
from mesh.registry.port import READ, WriteOptions
from mesh.rpc import wire
from mesh.rpc.client import Client
from mesh.rpc.listener import Listener
from mesh.tls import Credentials, load
from tests.certificates import CLOCK, DAY, AtTime, Certificates
from tests.rpc.stack import Raw, Stack, agent, client, until

Start = Callable[..., Awaitable[Stack]]
Calls = Callable[[Credentials | None], Client]
FORWARDED = wire.Write(1, kv.Set("a", b"1"), WriteOptions(request="r"), forwarded=True)


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a server that leads; with certificates unless told otherwise."""
    stacks: list[Stack] = []

    async def run(
        credentials: Credentials | None, *, handshake_seconds: float = 20.0, **options: Any
    ) -> Stack:
        folder = tmp_path / f"data{len(stacks)}"
        folder.mkdir()
        stack = Stack(
            folder, credentials=credentials, handshake_seconds=handshake_seconds, **options
        )
        stacks.append(stack)
        return await stack.start()

    yield run
    for stack in stacks:
        await stack.stop()


@pytest.fixture
async def server(start: Start, made: Certificates) -> Stack:
    return await start(made.credentials("server", "s1"))


@pytest.fixture
async def calls() -> AsyncIterator[Calls]:
    """Makes clients, which are stopped after the test."""
    clients: list[Client] = []

    def call(credentials: Credentials | None) -> Client:
        clients.append(client(credentials=credentials))
        return clients[-1]

    yield call
    for one in clients:
        await one.stop()


def context(made: Certificates, pair: Pair | None, name: str = "raw") -> ssl.SSLContext:
    """For a caller that believes everybody, and shows this certificate if any."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.check_hostname = False
    found.verify_mode = ssl.CERT_NONE
    if pair is not None:
        found.load_cert_chain(*made.files(name, pair))
    return found


async def works(server: Stack, calls: Calls, credentials: Credentials | None) -> None:
    """Somebody with good certificates writes and reads."""
    router = agent(calls(credentials), server)
    await router.write(kv.Set("works", b"1"))
    assert (await router.read(kv.Get("works"))).value


async def test_servers_and_agents_speak_over_tls(
    server: Stack, made: Certificates, calls: Calls
) -> None:
    await works(server, calls, made.credentials("client", "a1"))
    await works(server, calls, made.credentials("client", ""))
    await works(server, calls, made.credentials("server", "s2"))
    raw = await Raw.open(server, tls=context(made, made.issue("client")))
    assert raw.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    raw.writer.close()
    assert server.rpc.counters["handshakes_failed"] == 0


async def test_old_versions_of_tls_are_refused(server: Stack, made: Certificates) -> None:
    old = context(made, made.issue("client"))
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises(OSError):  # noqa: PT011 - whatever TLS or TCP say.
        await Raw.open(server, tls=old)
    await until(lambda: server.rpc.counters["handshakes_failed"] == 1)


STRANGERS: dict[str, tuple[str, Callable[[Certificates], Pair | None]]] = {
    "no certificate": ("no_certificate", lambda made: None),
    "foreign CA": (
        "foreign",
        lambda made: Certificates(made.folder / "foreign").issue("server", "s1"),
    ),
    "expired": ("expired", lambda made: made.issue("server", "s1", AtTime(-10 * DAY), days=5)),
    "not yet valid": ("not_yet_valid", lambda made: made.issue("server", "s1", AtTime(10 * DAY))),
}
"""How it is counted, and what is shown."""


@pytest.mark.parametrize("kind", STRANGERS)
async def test_a_stranger_is_refused_in_the_handshake(
    server: Stack, made: Certificates, calls: Calls, kind: str
) -> None:
    tls = context(made, STRANGERS[kind][1](made))
    try:  # In TLS 1.3 the caller may believe for a moment that it was let in.
        raw = await Raw.open(server, tls=tls)
    except OSError:
        pass
    else:
        raw.send(FORWARDED)
        raw.send(wire.Write(2, kv.Set("a", b"1"), WriteOptions(request="r")))
        assert await raw.closed()
    await until(lambda: server.rpc.counters["handshakes_failed"] == 1)
    assert server.rpc.turned_away[STRANGERS[kind][0]] == 1
    assert not server.sessions
    assert server.rpc.counters["write"] == 0
    await works(server, calls, made.credentials("client", "a1"))
    assert (await server.router.read(kv.Get("a"))).value is None


async def test_an_agent_is_told_that_its_certificate_is_refused(
    server: Stack, made: Certificates, calls: Calls
) -> None:
    other = Certificates(made.folder / "other")
    options = other.options("client", "a1")
    credentials = Credentials(load(options), CLOCK)
    # It trusts the server, but the server does not trust it.
    credentials._loaded.calling.load_verify_locations(made.ca)
    with pytest.raises(Unreachable, match="certificate") as refused:
        await calls(credentials).write(server.address, kv.Set("a", b"1"), WriteOptions(request="r"))
    assert not isinstance(refused.value, OutcomeUnknown)
    assert (await server.router.read(kv.Get("a"))).value is None


async def test_other_names_are_refused_after_the_handshake(
    server: Stack, made: Certificates
) -> None:
    for pair in (made.issue("cli"), made.issue("server", "s1", dc="dc2")):
        raw = await Raw.open(server, tls=context(made, pair))
        raw.send(wire.Write(1, kv.Set("a", b"1"), WriteOptions(request="r")))
        assert await raw.closed()
    await until(lambda: server.rpc.counters["denied"] == 2)
    assert server.rpc.counters["write"] == 0


async def test_only_servers_send_requests_on(server: Stack, made: Certificates) -> None:
    raw = await Raw.open(server, tls=context(made, made.issue("client", "a1")))
    raw.send(FORWARDED)
    assert await raw.closed()
    raw = await Raw.open(server, tls=context(made, made.issue("client", "a1")))
    raw.send(wire.Read(1, kv.Get("a"), READ, forwarded=True))
    assert await raw.closed()
    await until(lambda: server.rpc.counters["denied"] == 2)
    assert (await server.router.read(kv.Get("a"))).value is None
    raw = await Raw.open(server, tls=context(made, made.issue("server", "s2")))
    raw.send(FORWARDED)
    _, wrote = await raw.replies(2)
    assert isinstance(wrote, wire.Wrote)
    raw.writer.close()
    assert (await server.router.read(kv.Get("a"))).value is not None


def greeting(server: Stack, caller: str) -> bytes:
    place = server.raft._place
    assert place is not None
    return RAFT_BYTE + pack_frame(pack(succession.hello(place, caller, server.me.id)))


@pytest.mark.parametrize(
    ("role", "node", "denied"), [("client", "s2", 1), ("server", "", 0), ("server", "s3", 0)]
)
async def test_raft_is_for_the_server_that_the_certificate_names(
    server: Stack, made: Certificates, role: str, node: str, denied: int
) -> None:
    server.raft.follow([Peer("s2", "s2", "127.0.0.1:1"), Peer("s3", "s3", "127.0.0.1:1")])
    pair = made.issue("server" if role == "server" else "client", node)
    raw = await Raw.open(server, greeting(server, "s2"), tls=context(made, pair))
    assert await raw.closed()
    await until(lambda: not server.sessions)
    assert server.rpc.counters["denied"] == denied
    assert server.raft.counters["rejected_frames"] == 1 - denied
    assert server.raft.counters["frames_received"] == 0
    good = await Raw.open(
        server, greeting(server, "s2"), tls=context(made, made.issue("server", "S2"))
    )
    async with asyncio.timeout(30):
        assert await good.reader.read(4)
    assert server.raft.counters["rejected_frames"] == 1 - denied
    good.writer.close()


HOSTILE = [
    b"GET / HTTP/1.1\r\n\r\n",
    wire.RPC_BYTE + wire.frame(FORWARDED),
    RAFT_BYTE + b"\x00" * 50,
    b"\x16\x03\x01\x02\x00" + b"\xff" * 512,
    b"\x00" * 5000,
]


@pytest.mark.parametrize("data", HOSTILE, ids=lambda data: data[:8].hex())
async def test_hostile_bytes_before_the_handshake(
    server: Stack, made: Certificates, calls: Calls, data: bytes
) -> None:
    raw = await Raw.open(server, data)
    assert await raw.closed()
    await until(lambda: server.rpc.counters["handshakes_failed"] == 1)
    assert server.rpc.turned_away["other" if data[:1] == b"\x16" else "plain"] == 1
    await works(server, calls, made.credentials("client", "a1"))
    assert (await server.router.read(kv.Get("a"))).value is None
    assert server.rpc._listener.accepting.tasks.failures == 0


@pytest.mark.parametrize(
    ("data", "counter"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "unknown_protocol"),
        (wire.RPC_BYTE + b"\xff" * 50, "malformed"),
        (wire.RPC_BYTE + b"\x00\x00\x00\x04junk", "malformed"),
        (RAFT_BYTE + b"\x00" * 50, "denied"),
    ],
)
async def test_hostile_bytes_after_the_handshake(
    server: Stack, made: Certificates, calls: Calls, data: bytes, counter: str
) -> None:
    raw = await Raw.open(server, data, tls=context(made, made.issue("client", "a1")))
    assert await raw.closed()
    await until(lambda: server.rpc.counters[counter] == 1)
    await works(server, calls, made.credentials("client", "a1"))
    assert server.rpc._listener.accepting.tasks.failures == 0


async def test_who_says_nothing_is_not_waited_for(start: Start, made: Certificates) -> None:
    server = await start(made.credentials("server", "s1"), handshake_seconds=0.2)
    raw = await Raw.open(server, b"\x16")
    assert await raw.closed()
    assert server.rpc.counters["handshakes_failed"] == 1


async def test_silent_callers_do_not_keep_others_out(
    server: Stack, made: Certificates, calls: Calls
) -> None:
    server.rpc._listener.accepting.handshakes_max = 4
    silent = [await Raw.open(server, b"\x16") for _ in range(6)]
    await until(lambda: server.rpc.counters["connections"] == 6)
    assert server.rpc.counters["refused"] == 2
    for raw in silent[:2]:
        assert await raw.closed()
    await works(server, calls, made.credentials("client", "a1"))
    assert server.rpc.counters["refused"] == 3
    for raw in silent:
        raw.writer.close()
    await until(lambda: not server.rpc._listener.accepting.handshakes)


async def test_a_flood_of_callers_leaves_time_for_others(start: Start) -> None:
    server = await start(None)
    callers = [socket.create_connection(("127.0.0.1", server.rpc.port)) for _ in range(100)]
    seen = []
    while (count := server.rpc.counters["connections"]) < len(callers):
        seen.append(count)
        await asyncio.sleep(0)
    steps = [after - before for before, after in pairwise([*seen, count])]
    assert max(steps) <= 2 * accepting.ACCEPTS_AT_ONCE
    for caller in callers:
        caller.close()


async def test_it_goes_on_when_there_are_file_descriptors_again(
    server: Stack,
    made: Certificates,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(accepting, "EXHAUSTED_SECONDS", 0.02)
    caller = socket.socket()
    free = os.dup(caller.fileno())
    os.close(free)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))  # None with a higher number.
    try:
        caller.connect(("127.0.0.1", server.rpc.port))
        await until(lambda: sum("cannot accept" in one for one in caplog.messages) > 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    caller.close()
    await works(server, calls, made.credentials("client", "a1"))


async def test_failed_handshakes_are_a_warning_once_a_minute(
    server: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "mesh.rpc.turning"):
        for _ in range(3):
            assert await (await Raw.open(server, b"junk" * 10)).closed()
        await until(lambda: server.rpc.counters["handshakes_failed"] == 3)
    levels = [one.levelno for one in caplog.records if "handshake" in one.message]
    assert levels == [logging.WARNING, logging.DEBUG, logging.DEBUG]
    assert "127.0.0.1:" in caplog.messages[0]


async def test_tls_and_plain_do_not_meet(start: Start, made: Certificates, calls: Calls) -> None:
    plain, secure = await start(None), await start(made.credentials("server", "s1"))
    with pytest.raises(Unreachable, match=plain.address):
        await calls(made.credentials("client", "a1")).read(plain.address, kv.Get("a"), READ)
    await until(lambda: plain.rpc.counters["unknown_protocol"] == 1)
    with pytest.raises(MeshError):
        await calls(None).read(secure.address, kv.Get("a"), READ)
    await until(lambda: secure.rpc.counters["handshakes_failed"] == 1)
    await works(plain, calls, None)


@pytest.mark.parametrize("kind", ["client", "foreign", "other datacenter"])
async def test_an_impostor_is_not_taken_for_a_server(
    made: Certificates, calls: Calls, kind: str
) -> None:
    """Whoever has another certificate gets no request."""
    theirs = Certificates(made.folder / "theirs") if kind == "foreign" else made
    options = theirs.options("client", "a1", theirs.issue("client", "a1"))
    if kind == "foreign":
        options = theirs.options("server", "s1")
    credentials = Credentials(load(options), CLOCK)
    if kind == "other datacenter":
        other = made.files("dc2", made.issue("server", "s1", dc="dc2"))
        credentials.listening.load_cert_chain(*other)
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))
        writer.close()

    impostor = Listener(serve, credentials, Counter())
    port = impostor.start("127.0.0.1", 0)
    try:
        with pytest.raises(Unreachable, match="the certificate there is refused"):
            await calls(made.credentials("client", "a2")).read(
                f"127.0.0.1:{port}", kv.Get("a"), READ
            )
    finally:
        await impostor.stop()
    assert heard in ([], [b""])


async def test_a_server_dials_only_the_node_it_means(server: Stack, made: Certificates) -> None:
    ours = made.credentials("server", "s2")
    _, writer = await ours.connect("127.0.0.1", server.rpc.port, "S1")
    writer.close()
    for node in ("s3", "a b", "x" * 70, "é"):
        with pytest.raises(Unreachable):
            await ours.connect("127.0.0.1", server.rpc.port, node)


async def serial(server: Stack, tls: ssl.SSLContext) -> bytes:
    """What the server shows now."""
    raw = await Raw.open(server, tls=tls)
    shown: bytes = raw.writer.get_extra_info("ssl_object").getpeercert(True)
    raw.writer.close()
    return shown


async def test_new_certificates_are_for_new_connections(
    start: Start, made: Certificates, calls: Calls
) -> None:
    credentials = made.credentials("server", "s1")
    server = await start(credentials)
    mine = context(made, made.issue("client", "a1"))
    before = await serial(server, mine)
    router = agent(calls(made.credentials("client", "a1")), server)
    await router.write(kv.Set("a", b"1"))
    assert not credentials.use(load(credentials._loaded.options))
    assert await serial(server, mine) == before
    assert credentials.use(load(made.options("server", "s1")))
    assert await serial(server, mine) != before
    # Who was connected stays so.
    connects = server.rpc.counters["connections"]
    assert (await router.read(kv.Get("a"))).value is not None
    assert server.rpc.counters["connections"] == connects


async def test_an_authority_is_replaced_without_an_interruption(
    start: Start, made: Certificates, calls: Calls
) -> None:
    """Both in the bundle, then new certificates, then only the new one in the bundle."""
    credentials = made.credentials("server", "s1")
    server = await start(credentials)
    newer = Certificates(made.folder / "newer")
    old_agent = made.credentials("client", "a1")
    only_old, only_new = made.ca.read_bytes(), newer.ca.read_bytes()
    made.ca.write_bytes(only_old + only_new)
    newer.ca.write_bytes(only_old + only_new)
    new_agent = newer.credentials("client", "a2")
    with pytest.raises(Unreachable):
        await calls(new_agent).read(server.address, kv.Get("a"), READ)
    credentials.use(load(made.options("server", "s1")))
    await works(server, calls, old_agent)
    await works(server, calls, new_agent)
    old_agent.use(load(made.options("client", "a1")))
    credentials.use(load(newer.options("server", "s1")))
    await works(server, calls, old_agent)
    newer.ca.write_bytes(only_new)
    credentials.use(load(newer.options("server", "s1")))
    await works(server, calls, new_agent)
    with pytest.raises(Unreachable):
        await calls(old_agent).read(server.address, kv.Get("a"), READ)


async def test_who_is_accepted_just_before_the_end_is_let_go() -> None:
    async def never(*_: object) -> None:
        raise AssertionError("nobody is served any more")

    one = Listener(never, None, Counter())
    port = one.start("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", port)) as caller:
        inner = one.accepting
        assert inner._socket is not None
        inner._accept(inner._socket)
        assert len(inner.handshakes) == 1
        await one.stop()
        assert not inner.handshakes
        caller.settimeout(60)
        assert caller.recv(1) == b""
