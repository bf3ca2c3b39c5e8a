"""The built-in proxy over real sockets; `tests/cli/test_connect_proxy.py` has it with an agent."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from mesh.connect import identity
from mesh.connect.proxy import Door, DryRun, Endpoint, Limits, Local, Public, Target, Verdict
from mesh.sockets import bind
from tests.connect.workloads import DOMAIN, Authority, settled

ADDRESS = "127.0.0.1"
STREAM = (socket.AF_INET, socket.SOCK_STREAM)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
T = TypeVar("T")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def uri(service: str) -> str:
    return identity.service(DOMAIN, "dc1", service).uri


@asynccontextmanager
async def started(door: Door) -> AsyncIterator[int]:
    listening = bind(STREAM, ADDRESS, 0)[0]
    port = int(listening.getsockname()[1])
    door.start(listening, "here")
    try:
        yield port
    finally:
        await door.stop()
        await asyncio.sleep(0)


@asynccontextmanager
async def shouting() -> AsyncIterator[int]:
    """An application that says in capitals what it hears, line by line."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    server = await asyncio.start_server(serve, ADDRESS, 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await settled()


class Rules:
    """Says who may connect; counts how often it was asked."""

    def __init__(self) -> None:
        self.denied: set[str] = set()
        self.tried: set[str] = set()
        """Whom dry runs deny; where there are none, everybody is allowed by them."""
        self.asked: list[str] = []

    async def judge(self, caller: str, serial: str) -> Verdict:
        assert serial.count(":") > 5
        self.asked.append(caller)
        dry_run: DryRun = "denied" if caller in self.tried else "allowed" if self.tried else ""
        allowed = caller not in self.denied
        return Verdict(allowed, "the rule of the test", dry_run=dry_run)


def public(
    authority: Authority, application: int, rules: Rules, limits: Limits | None = None
) -> Public:
    context = authority.listening(authority.leaf("payments"))
    target = Target(ADDRESS, application)
    return Public("payments", target, lambda: context, rules.judge, limits or Limits())


async def shout(streams: Streams, word: bytes = b"hello") -> bytes:
    reader, writer = streams
    writer.write(word + b"\n")
    return await reader.readline()


async def ended(streams: Streams) -> bool:
    """Whether the other side ends it, in whichever way, without a word."""
    try:
        return not await streams[0].read(1)
    except OSError:
        return True


async def hang_up(*connections: Streams) -> None:
    for _, writer in connections:
        writer.transport.abort()
    await asyncio.sleep(0)


def secure(port: int, context: ssl.SSLContext) -> asyncio.Future[Streams]:
    return asyncio.ensure_future(
        asyncio.open_connection(ADDRESS, port, ssl=context, server_hostname="payments")
    )


async def eventually(probe: Callable[[], T]) -> T:
    async with asyncio.timeout(20):
        while not (found := probe()):
            await asyncio.sleep(0.005)
    return found


async def test_callers_come_in_by_their_certificates(authority: Authority) -> None:
    rules = Rules()
    async with shouting() as application:
        door = public(authority, application, rules)
        async with started(door) as port:
            web = await secure(port, authority.calling(authority.leaf("web")))
            assert await shout(web) == b"HELLO\n"
            assert rules.asked == [uri("web")]
            await hang_up(web)
            await eventually(lambda: not door.open)
    assert not door.traffic.refused
    assert (door.traffic.opened, door.traffic.closed) == (1, 1)
    assert (door.traffic.received, door.traffic.sent) == (6, 6)


async def test_who_is_denied_gets_no_byte_and_the_log_says_why(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    rules = Rules()
    rules.denied.add(uri("web"))
    async with shouting() as application, started(public(authority, application, rules)) as port:
        web = await secure(port, authority.calling(authority.leaf("web")))
        assert await ended(web)
        await hang_up(web)
    assert f"web ({uri('web')}) may not connect to payments: the rule of the test" in caplog.text


async def test_a_deny_ends_open_connections_of_that_caller_only(authority: Authority) -> None:
    rules = Rules()
    async with shouting() as application:
        door = public(authority, application, rules)
        async with started(door) as port:
            ones = [await secure(port, authority.calling(authority.leaf("web"))) for _ in range(3)]
            batch = await secure(port, authority.calling(authority.leaf("batch")))
            for one in (*ones, batch):
                assert await shout(one) == b"HELLO\n"
            rules.denied.add(uri("web"))
            rules.asked.clear()
            await door.judge_again()
            assert sorted(rules.asked) == [uri("batch"), uri("web")]
            assert all([await ended(one) for one in ones])
            assert await shout(batch) == b"HELLO\n"
            await hang_up(*ones, batch)
    assert door.traffic.refused == {"denied": 3}


async def test_what_dry_runs_would_deny_is_told_once_for_each_connection(
    authority: Authority,
) -> None:
    rules, told = Rules(), list[tuple[str, bool, DryRun]]()
    async with shouting() as application:
        door = public(authority, application, rules)
        door.judged = lambda caller, verdict: told.append(
            (caller, verdict.allowed, verdict.dry_run)
        )
        async with started(door) as port:
            ones = [
                await secure(port, authority.calling(authority.leaf(name)))
                for name in ("web", "web", "batch")
            ]
            for one in ones:
                assert await shout(one) == b"HELLO\n"
            assert told == []
            rules.tried.add(uri("web"))
            for _ in range(2):
                await door.judge_again()
            assert told == [(uri("web"), True, "denied")] * 2
            ones.append(await secure(port, authority.calling(authority.leaf("web"))))
            assert await shout(ones[-1]) == b"HELLO\n"
            assert told == [(uri("web"), True, "denied")] * 3
            # Without the dry run, and with it again.
            rules.tried.clear()
            await door.judge_again()
            rules.tried.add(uri("web"))
            await door.judge_again()
            assert len(told) == 6
            # What is enforced while a dry run would allow it.
            rules.denied.add(uri("batch"))
            await door.judge_again()
            assert told[6:] == [(uri("batch"), False, "allowed")]
            assert await ended(ones[2])
            assert await shout(ones[0]) == b"HELLO\n"
            await hang_up(*ones)


async def test_strangers_are_refused_with_the_reason(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = Authority(tmp_path_factory.mktemp("foreign"), "elsewhere.consul")
    rules = Rules()
    contexts = [
        (foreign.calling(foreign.leaf("web"), trusting=authority.root_file), "self-signed|issuer"),
        (authority.calling(authority.leaf("web", ended=True)), "certificate has expired"),
        (authority.calling(None), "peer did not return a certificate"),
    ]
    door = public(authority, 1, rules)
    async with started(door) as port:
        for context, words in contexts:
            caplog.clear()
            stranger = await secure(port, context)
            assert await ended(stranger)
            await hang_up(stranger)
            assert any(word in caplog.text for word in words.split("|")), caplog.text
        plain = await asyncio.open_connection(ADDRESS, port)
        plain[1].write(b"GET / HTTP/1.1\r\n\r\n")
        assert b"HTTP/1.1" not in await plain[0].read()
        await hang_up(plain)
        assert "it does not speak TLS" in caplog.text
        looking = await asyncio.open_connection(ADDRESS, port)  # As health checks do.
        await hang_up(looking)
    assert rules.asked == []
    assert door.traffic.refused == {"untrusted": 1, "expired": 1, "no-certificate": 1, "plain": 1}


async def test_callers_beyond_the_limit_of_the_service_are_refused_and_strangers_do_not_count(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    rules = Rules()
    rules.denied.add(uri("batch"))
    async with shouting() as application:
        door = public(authority, application, rules)
        door.most = 1
        async with started(door) as port:
            silent = await asyncio.open_connection(ADDRESS, port)
            batch = await secure(port, authority.calling(authority.leaf("batch")))
            assert await ended(batch)
            context = authority.calling(authority.leaf("web"))
            first = await secure(port, context)
            assert await shout(first) == b"HELLO\n"
            second = await secure(port, context)
            assert await ended(second)
            assert f"web ({uri('web')}): payments has 1 connections, which is its" in caplog.text
            door.most = 2
            third = await secure(port, context)
            assert await shout(third) == b"HELLO\n"
            assert await shout(first) == b"HELLO\n"
            await hang_up(silent, batch, first, second, third)
            await eventually(lambda: not door.open)
    assert door.traffic.refused == {"denied": 1, "full": 1}
    assert (door.traffic.opened, door.traffic.closed) == (5, 5)


async def test_silent_ones_give_way_and_never_stop_honest_ones(authority: Authority) -> None:
    limits = Limits(handshakes=2)
    async with shouting() as application:
        door = public(authority, application, Rules(), limits)
        async with started(door) as port:
            silent = [await asyncio.open_connection(ADDRESS, port) for _ in range(5)]
            web = await secure(port, authority.calling(authority.leaf("web")))
            assert await shout(web) == b"HELLO\n"
            assert await silent[0][0].read() == b""
            assert set(door.traffic.refused) == {"crowded"}
            await hang_up(web, *silent)


async def test_there_are_no_more_connections_than_allowed(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(connections=1)
    async with shouting() as application:
        door = public(authority, application, Rules(), limits)
        async with started(door) as port:
            context = authority.calling(authority.leaf("web"))
            web = await secure(port, context)
            assert await shout(web) == b"HELLO\n"
            with pytest.raises(OSError):  # noqa: PT011  # Reset, or closed in the handshake.
                await secure(port, context)
            await hang_up(web)
            await eventually(lambda: not door.open)
            again = await secure(port, context)
            assert await shout(again) == b"HELLO\n"
            await hang_up(again)
    assert "1 connections are open, which is the limit" in caplog.text


async def test_what_is_open_goes_on_when_nobody_is_let_in_any_more(authority: Authority) -> None:
    async with shouting() as application:
        door = public(authority, application, Rules())
        async with started(door) as port:
            web = await secure(port, authority.calling(authority.leaf("web")))
            assert await shout(web) == b"HELLO\n"
            door.shut()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(ADDRESS, port)
            assert await shout(web, b"again") == b"AGAIN\n"
            assert len(door.open) == 1
            await hang_up(web)
            await eventually(lambda: not door.open)


def upstream(authority: Authority, endpoints: list[Endpoint]) -> Local:
    context = authority.calling(authority.leaf("web"))
    return Local("payments", lambda: endpoints, lambda: context, Limits())


def endpoint(port: int, service: str = "payments", tier: int = 0) -> Endpoint:
    return Endpoint(ADDRESS, port, uri(service), service, tier)


@pytest.fixture
def dead() -> Iterator[int]:
    """A port at which connections are refused, and which nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind((ADDRESS, 0))
        yield int(bound.getsockname()[1])


async def test_instances_take_turns_and_those_that_fail_are_passed_over(
    authority: Authority, dead: int, caplog: pytest.LogCaptureFixture
) -> None:
    rules = [Rules(), Rules(), Rules()]
    async with shouting() as application:
        doors = [public(authority, application, rule) for rule in rules]
        async with started(doors[0]) as one, started(doors[1]) as two, started(doors[2]) as last:
            endpoints = [endpoint(dead), endpoint(one), endpoint(two), endpoint(last, tier=2)]
            async with started(upstream(authority, endpoints)) as port:
                for _ in range(6):
                    caller = await asyncio.open_connection(ADDRESS, port)
                    assert await shout(caller) == b"HELLO\n"
                    await hang_up(caller)
                asked = [len(rule.asked) for rule in rules]
                assert min(asked[:2]) >= 2
                assert asked[2] == 0
                endpoints[:3] = [endpoint(dead)]
                caller = await asyncio.open_connection(ADDRESS, port)
                assert await shout(caller) == b"HELLO\n"
                assert rules[2].asked == [uri("web")]
                await hang_up(caller)
    assert f"upstream payments: {ADDRESS}:{dead}: " in caplog.text


async def test_a_service_is_the_same_in_any_case(authority: Authority) -> None:
    async with (
        shouting() as application,
        started(public(authority, application, Rules())) as port,
        started(upstream(authority, [endpoint(port, "Payments")])) as entrance,
    ):
        caller = await asyncio.open_connection(ADDRESS, entrance)
        assert await shout(caller) == b"HELLO\n"
        await hang_up(caller)


async def test_another_service_at_the_other_end_gets_no_byte(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        shouting() as application,
        started(public(authority, application, Rules())) as other,
        started(upstream(authority, [endpoint(other, "billing")])) as port,
    ):
        caller = await asyncio.open_connection(ADDRESS, port)
        caller[1].write(b"secret\n")
        assert await ended(caller)
        await hang_up(caller)
    assert f"it is {uri('payments')} that answered, and {uri('billing')} was called" in caplog.text
    assert "no instance of payments can be reached" in caplog.text


async def test_an_application_that_is_not_there_is_told_in_the_log(
    authority: Authority, dead: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with started(public(authority, dead, Rules())) as port:
        web = await secure(port, authority.calling(authority.leaf("web")))
        assert await ended(web)
        await hang_up(web)
    assert "payments does not answer at 127.0.0.1:" in caplog.text
    await settled()


async def test_an_application_may_have_a_unix_socket(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(tmp_path_factory.mktemp("unix") / "app")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    context = authority.listening(authority.leaf("payments"))
    door = Public("payments", Target(path=path), lambda: context, Rules().judge, Limits())
    async with started(door) as port:
        web = await secure(port, authority.calling(authority.leaf("web")))
        assert await shout(web) == b"HELLO\n"
        await hang_up(web)
    server.close()
    await settled()
