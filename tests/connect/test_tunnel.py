"""Plain and TLS connections joined over real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mesh.connect.tunnel import Gone, Plain, Secure, Stream, splice
from tests.connect.workloads import Authority, settled

ADDRESS = "127.0.0.1"
BULK = bytes(range(256)) * 4096 * 8
BOTH = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


Work = Callable[[Plain], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def uncounted(_: int) -> None:
    pass


async def listen(work: Work) -> tuple[asyncio.Server, int]:
    # Of a task that serves a connection whose other side has said all, asyncio itself keeps none.
    serving: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(work(Plain(reader, writer)))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(serve, ADDRESS, 0)
    return server, int(server.sockets[0].getsockname()[1])


async def everything(stream: Stream) -> bytes:
    parts = []
    while part := await stream.read():
        parts.append(part)
    return b"".join(parts)


async def answering(stream: Stream) -> None:
    """Says how much it heard, but not before the other side has said all."""
    heard = await everything(stream)
    await stream.write(b"%d " % len(heard) + heard[-4:])
    await stream.write(BULK)
    await stream.end()
    await stream.close()


class Way:
    """A caller, plain to one proxy, TLS to another, plain to a server."""

    def __init__(self, authority: Authority, version: ssl.TLSVersion) -> None:
        self.listening = authority.listening(authority.leaf("payments"))
        self.calling = authority.calling(authority.leaf("web"))
        self.calling.maximum_version = version
        self.listening.verify_mode = ssl.CERT_REQUIRED
        self.servers: list[asyncio.Server] = []

    async def begin(self, work: Work) -> int:
        server, self.application = await listen(work)
        inner, self.public = await listen(self.let_in)
        outer, port = await listen(self.let_out)
        self.servers = [server, inner, outer]
        return port

    async def let_in(self, plain: Plain) -> None:
        secure = Secure(plain, self.listening, None)
        await secure.shake_hands()
        await splice(secure, await call(self.application), uncounted, uncounted)

    async def let_out(self, plain: Plain) -> None:
        secure = Secure(await call(self.public), self.calling, "payments")
        await secure.shake_hands()
        await splice(plain, secure, uncounted, uncounted)

    async def end(self) -> None:
        for server in self.servers:
            server.close()
        await settled()


async def call(port: int) -> Plain:
    return Plain(*await asyncio.open_connection(ADDRESS, port))


@BOTH
async def test_a_side_that_has_said_all_still_hears(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    way = Way(authority, version)
    caller = await call(await way.begin(answering))
    await caller.write(BULK)
    await caller.end()
    heard = await everything(caller)
    assert heard[:12] == b"%d " % len(BULK) + BULK[-4:]
    assert heard[12:] == BULK
    await caller.close()
    await way.end()


@BOTH
async def test_what_is_said_in_both_directions_at_once_is_carried(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    async def echo(stream: Plain) -> None:
        while data := await stream.read():
            await stream.write(data)
        await stream.end()
        await stream.close()

    way = Way(authority, version)
    caller = await call(await way.begin(echo))

    async def say() -> None:
        await caller.write(BULK)
        await caller.end()

    _, heard = await asyncio.gather(say(), everything(caller))
    assert heard == BULK
    await caller.close()
    await way.end()


async def test_who_does_not_listen_is_not_sent_without_end(authority: Authority) -> None:
    """What lies in between stays small: the sender is held up."""
    sent = 0
    stopped = asyncio.Event()

    async def flood(stream: Plain) -> None:
        nonlocal sent
        try:
            while not stopped.is_set():
                await stream.write(bytes(64 * 1024))
                sent += 64 * 1024
        except OSError:
            stream.abort()

    way = Way(authority, ssl.TLSVersion.TLSv1_3)
    caller = await call(await way.begin(flood))
    before = -1
    while sent != before:  # It comes to rest by itself.
        before = sent
        for _ in range(50):
            await asyncio.sleep(0.002)
    assert before < 64 * 1024 * 1024
    stopped.set()
    caller.abort()
    await way.end()


async def test_one_that_is_gone_takes_the_other_along(authority: Authority) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listening(stream: Plain) -> None:
        await stream.write(b"hello")
        heard.set_result(await everything(stream))
        await stream.close()

    way = Way(authority, ssl.TLSVersion.TLSv1_3)
    await way.begin(listening)
    plain = await call(way.public)
    secure = Secure(plain, way.calling, "payments")
    await secure.shake_hands()
    assert await secure.read() == b"hello"
    await secure.write(b"last words")
    await plain.close()  # Without a farewell in TLS.
    assert await heard == b"last words"
    await way.end()


async def test_an_end_without_farewell_is_told_from_an_end(authority: Authority) -> None:
    async def hanging_up(plain: Plain) -> None:
        secure = Secure(plain, way.listening, None)
        await secure.shake_hands()
        await secure.write(b"half a")
        await plain.close()

    way = Way(authority, ssl.TLSVersion.TLSv1_3)
    server, port = await listen(hanging_up)
    secure = Secure(await call(port), way.calling, "payments")
    await secure.shake_hands()
    assert await secure.read() == b"half a"
    with pytest.raises(Gone):
        await secure.read()
    secure.abort()
    server.close()
    await settled()


async def test_both_sides_hear_why_a_handshake_failed(authority: Authority, tmp_path: Path) -> None:
    foreign = Authority(tmp_path, "elsewhere.consul")
    failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def refusing(plain: Plain) -> None:
        try:
            await Secure(plain, way.listening, None).shake_hands()
        except OSError as error:
            failed.set_result(error)
        await plain.close()

    way = Way(authority, ssl.TLSVersion.TLSv1_3)
    server, port = await listen(refusing)
    context = foreign.calling(foreign.leaf("web"), trusting=authority.root_file)
    secure = Secure(await call(port), context, "payments")
    await secure.shake_hands()  # In TLS 1.3 the client hears later.
    with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
        await secure.read()
    assert "certificate verify failed" in str(await failed)
    secure.abort()
    server.close()
    await settled()
