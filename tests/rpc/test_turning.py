"""Revoked certificates: open connections end, new ones are refused with the reason and counted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.daemon.distrusted import Distrusted
from mesh.daemon.encryption import enforce, spares
from mesh.errors import Conflict, Unreachable
from mesh.raft.node import RAFT_BYTE
from mesh.registry import kv, levels
from mesh.registry.port import READ, WriteOptions
from mesh.registry.revocations import Revoke, Unrevoke
from mesh.revocation import Listed, Named, Revocations
from mesh.rpc import wire
from mesh.rpc.client import Client
from mesh.rpc.turning import REMEMBERED_MAX, Turned
from mesh.tls import Credentials
from tests.certificates import Certificates
from tests.rpc.stack import Raw, Stack, agent, client, until
from tests.rpc.test_listener import context


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


@pytest.fixture
async def server(tmp_path: Path, made: Certificates) -> AsyncIterator[Stack]:
    """One that leads, of the highest level, and refuses what its tables say."""
    credentials = made.credentials("server", "s1")
    folder = tmp_path / "data"
    folder.mkdir()
    stack = Stack(folder, credentials=credentials)
    enforce(stack.machine.answers, Distrusted(str(folder), credentials), stack.rpc.look_again)
    stack.gate.rules.append(spares(credentials))
    await stack.start()
    for level in range(2, levels.HIGHEST + 1):
        await stack.router.write(levels.Finalize(level))
    yield stack
    await stack.stop()


@pytest.fixture
async def mine(made: Certificates) -> Credentials:
    return made.credentials("client", "a1")


@pytest.fixture
async def ours(mine: Credentials) -> AsyncIterator[Client]:
    made = client(credentials=mine)
    yield made
    await made.stop()


def revoke(credentials: Credentials, *, force: bool = False) -> Revoke:
    named = credentials.own
    return Revoke(named.serial, named.issuer, "laptop stolen", force=force)


async def test_who_is_revoked_loses_its_connection_and_gets_no_other(
    server: Stack,
    made: Certificates,
    mine: Credentials,
    ours: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    other = client(credentials=made.credentials("client", "a2"))
    await agent(ours, server).write(kv.Set("a", b"1"))
    await agent(other, server).write(kv.Set("b", b"1"))
    waiting = asyncio.create_task(ours.read(server.address, kv.Get("a"), READ))
    assert (await waiting).value is not None
    index = (await ours.read(server.address, kv.Get("a"), READ)).index
    patient = type(READ)(index=index, wait=60.0)
    waiting = asyncio.create_task(ours.read(server.address, kv.Get("a"), patient))
    await until(lambda: server.reader.waiting == 1)
    await server.router.write(revoke(mine))
    with pytest.raises(Unreachable, match=r"refuses this node: certificate .* laptop stolen"):
        await waiting
    assert server.rpc.turned_away["revoked"] == 1
    for count in (2, 3):
        with pytest.raises(Unreachable, match="is revoked: laptop stolen") as refused:
            await ours.write(server.address, kv.Set("c", b"1"), WriteOptions(request="r"))
        assert "does it refuse" not in refused.value.message
        await until(lambda count=count: server.rpc.turned_away["revoked"] == count)  # type: ignore[misc]
    # Who shows another one goes on, on the connection that was open.
    connects = server.rpc.counters["connections"]
    assert (await agent(other, server).read(kv.Get("c"))).value is None
    assert server.rpc.counters["connections"] == connects
    warned = [one.getMessage() for one in caplog.records if one.name == "mesh.rpc.turning"]
    assert len(warned) == 1
    assert f"certificate {mine.own.serial} is revoked: laptop stolen" in warned[0]
    told = [one for one in caplog.records if "the server refuses this node" in one.getMessage()]
    assert len(told) == 1
    await server.router.write(Unrevoke(mine.own.serial))
    await agent(ours, server).write(kv.Set("c", b"2"))
    await other.stop()


async def test_raft_is_not_spoken_with_who_is_revoked(server: Stack, made: Certificates) -> None:
    shown = made.credentials("server", "s2")
    open_one = await Raw.open(server, RAFT_BYTE, tls=context(made, made.issue("server", "s2")))
    await until(lambda: server.sessions == 1)
    await server.router.write(revoke(shown))  # Another one, of the same server.
    assert server.sessions == 1
    open_one.writer.close()
    tls = context(made, None)
    files = shown._loaded.options
    tls.load_cert_chain(files.certificate.path, files.key.path)
    closed = await Raw.open(server, RAFT_BYTE, tls=tls)
    assert await closed.closed()
    assert server.rpc.turned_away["revoked"] == 1


async def test_nobody_calls_a_server_that_is_revoked(server: Stack, mine: Credentials) -> None:
    asks = client(credentials=mine)
    await agent(asks, server).write(kv.Set("a", b"1"))
    theirs = server.rpc._options.credentials
    assert theirs is not None
    mine.distrust(Revocations([Listed(Named(theirs.own.serial, ""), "lost key")]))
    await until(lambda: not asks._connections)
    with pytest.raises(Unreachable, match="is revoked: lost key"):
        await asks.read(server.address, kv.Get("a"), READ)
    assert not asks._connections
    mine.distrust(Revocations())
    assert (await asks.read(server.address, kv.Get("a"), READ)).value is not None
    await asks.stop()


async def test_the_leader_does_not_shut_itself_out_unless_told_to(
    server: Stack, made: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    own = server.rpc._options.credentials
    assert own is not None
    with pytest.raises(Conflict, match=f"{own.own.serial} is the certificate of the leader"):
        await server.router.write(revoke(own))
    with pytest.raises(Conflict, match="is the certificate of the leader"):
        await server.router.write(Revoke(own.own.serial))
    await server.router.write(Revoke(own.own.serial, "CN=somebody else"))
    await server.router.write(revoke(own, force=True))
    assert f"the certificate of this node ({own.own.serial}) is revoked" in caplog.text


async def test_a_client_that_knows_no_revocation_is_only_disconnected(
    server: Stack, made: Certificates
) -> None:
    pair = made.issue("client", "a3")
    raw = await Raw.open(server, tls=context(made, pair))
    raw.send(wire.Read(1, kv.Get("a"), READ))
    assert len(await raw.replies(2)) == 2
    theirs = made.credentials("client", "a3", pair)
    await server.router.write(revoke(theirs))
    (last,) = await raw.replies(1)
    assert isinstance(last, wire.Failed)
    assert last.id == wire.TURNED_AWAY
    assert await raw.closed()


async def test_each_reason_and_certificate_is_a_warning_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    turned = Turned()
    for _ in range(2):
        turned.note("plain", "x")
        turned.note("revoked", "x", "A1")
        turned.note("revoked", "x", "A2")
    assert [one.levelno for one in caplog.records].count(logging.WARNING) == 3
    assert (turned.counts["plain"], turned.counts["revoked"]) == (2, 4)
    for number in range(2 * REMEMBERED_MAX):
        turned.note("revoked", "x", str(number))
    assert len(turned._warned) == REMEMBERED_MAX
