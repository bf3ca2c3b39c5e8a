"""Discovery streams of scripted clients over gRPC: limits, ends, and what is said of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from mesh.connect.xds import messages
from mesh.connect.xds.server import SILENCE_SECONDS, STREAMS_PER_PROXY, TICK_SECONDS, XdsServer
from mesh.connect.xds.snapshot import CLUSTER, LISTENER, Cause, Resource, snapshot
from mesh.errors import Unreachable
from tests.connect.xds.sidecars import CLOCK, until

FLOOD_BYTES = 32 << 20
"""More than lies between two ends of a connection."""
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


class TurnedClock:
    """Time goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self._turned = asyncio.Event()

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            await self._turned.wait()
            self._turned.clear()

    def turn(self, seconds: float) -> None:
        self.now += seconds
        self._turned.set()


class Rig:
    """A server and clients of it."""

    def __init__(self) -> None:
        self.clock = TurnedClock()
        self.came: list[str] = []
        self.server = XdsServer(
            self.clock,
            joined=lambda proxy: self.came.append(f"+{proxy}"),
            left=lambda proxy: self.came.append(f"-{proxy}"),
            streams_max=6,
        )
        self.channel: Any = None

    async def start(self) -> None:
        await self.server.start(["127.0.0.1:0"])
        options = [("grpc.max_receive_message_length", -1)]
        self.channel = grpc.aio.insecure_channel(self.server.addresses[0], options)

    async def stop(self) -> None:
        await self.channel.close()
        await self.server.stop()

    async def call(self, proxy: str = "web") -> Any:
        """A stream on which listeners are asked for."""
        call = self.channel.stream_stream(
            METHOD,
            request_serializer=messages.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=messages.DeltaDiscoveryResponse.FromString,
        )()
        await call.write(messages.DeltaDiscoveryRequest(node={"id": proxy}, type_url=LISTENER))
        return call

    def figures(self) -> dict[str, float]:
        found = {one.name: one.value for one in self.server.measures()}
        return {name.removeprefix("mesh.xds."): value for name, value in found.items()}  # type: ignore[misc]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    found = Rig()
    await found.start()
    yield found
    await found.stop()


def listener(name: str, content: str = "") -> Resource:
    made = messages.Listener(name=name, stat_prefix=content)
    causes = [Cause(f"upstream {name}"), Cause("its regex", "(oops")]
    return messages.resource(made, name, causes=causes)


async def _code(call: Any) -> Any:
    """How the stream ends."""
    async with asyncio.timeout(60):
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                pass
        return await call.code()


async def test_who_comes_before_there_is_a_snapshot_waits_for_it(rig: Rig) -> None:
    call = await rig.call()
    await until(lambda: rig.came == ["+web"], "it comes")
    (status,) = rig.server.status()
    assert not status.known
    assert not status.current
    rig.server.put("web", snapshot([listener("a")]))
    answer = await call.read()
    assert [one.name for one in answer.resources] == ["a"]
    assert not rig.server.status()[0].current
    await call.write(messages.DeltaDiscoveryRequest(type_url=LISTENER, response_nonce="1"))
    await until(lambda: rig.server.status()[0].current, "it accepts")
    call.cancel()
    await until(lambda: rig.came == ["+web", "-web"], "it goes")
    assert rig.server.status() == []
    assert rig.figures()["resources"] == 1


async def test_a_refusal_is_told_with_what_it_follows_from(rig: Rig) -> None:
    rig.server.put("web", snapshot([listener("a"), listener("b")]))
    call = await rig.call()
    answer = await call.read()
    refusal = messages.DeltaDiscoveryRequest(type_url=LISTENER, response_nonce=answer.nonce)
    refusal.error_detail.message = "Error adding listener a: bad regex '(oops'"
    await call.write(refusal)
    answer = await call.read()
    assert [one.name for one in answer.resources] == ["b"]
    await call.write(messages.DeltaDiscoveryRequest(type_url=LISTENER, response_nonce=answer.nonce))
    await until(lambda: rig.server.status()[0].kinds[0].accepted == 1, "it accepts the rest")
    (status,) = rig.server.status()
    (kind,) = status.kinds
    assert (kind.kind, kind.wanted, kind.current, status.current) == ("listeners", 2, False, False)
    (refused,) = kind.refused
    assert (refused.name, refused.origin) == ("a", "its regex")
    assert rig.figures()["refused"] == 1
    call.cancel()


async def test_there_is_a_limit_of_streams(rig: Rig) -> None:
    calls = [await rig.call() for _ in range(STREAMS_PER_PROXY)]
    await until(lambda: len(rig.came) == STREAMS_PER_PROXY, "all come")
    assert await _code(await rig.call()) == grpc.StatusCode.RESOURCE_EXHAUSTED
    calls += [await rig.call(proxy) for proxy in ("api", "db")]
    await until(lambda: len(rig.came) == 6, "others come")
    assert await _code(await rig.call("mail")) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert rig.figures()["turned_away"] == 2
    for call in calls:
        call.cancel()


async def test_who_does_not_say_who_it_is_is_refused(rig: Rig) -> None:
    for name in ("", "x" * 300):
        assert await _code(await rig.call(name)) == grpc.StatusCode.INVALID_ARGUMENT
    assert rig.came == []


async def test_who_answers_nothing_is_disconnected(rig: Rig) -> None:
    rig.server.put("web", snapshot([listener("a")]))
    call = await rig.call()
    await call.read()
    rig.clock.turn(SILENCE_SECONDS + TICK_SECONDS + 1)
    assert await _code(call) == grpc.StatusCode.UNAVAILABLE
    assert rig.figures()["silent"] == 1


async def test_who_reads_nothing_holds_no_place_and_hears_of_it_when_it_reads(rig: Rig) -> None:
    rig.server.put("web", snapshot([listener("a", "x" * FLOOD_BYTES)]))
    call = await rig.call()
    await until(lambda: any(one.sent for one in rig.server.streams("web")), "it is sent")
    for _ in range(3):
        rig.clock.turn(SILENCE_SECONDS + TICK_SECONDS + 1)
        await until(lambda: not rig.server.status(), "it is no client any more")
    assert rig.came == ["+web", "-web"]
    assert rig.figures()["silent"] == 1
    assert rig.figures()["unanswered_seconds"] == 0
    again = [await rig.call() for _ in range(STREAMS_PER_PROXY)]
    await until(lambda: len(rig.server.streams("web")) == len(again), "its next ones")
    assert await _code(call) == grpc.StatusCode.UNAVAILABLE
    # All places that there are for all clients together are free but for those four.
    others = [await rig.call(proxy) for proxy in ("db", "ledger")]
    for proxy in ("db", "ledger"):
        await until(lambda proxy=proxy: rig.server.streams(proxy), f"{proxy} has a place")  # type: ignore[misc]
    for one in (*again, *others):
        one.cancel()


async def test_streams_end_before_the_server_does(rig: Rig) -> None:
    rig.server.put("web", snapshot([listener("a")]))
    call = await rig.call()
    await call.read()
    ended = asyncio.create_task(_code(call))
    await rig.server.stop()
    assert await ended == grpc.StatusCode.UNAVAILABLE


async def test_what_is_not_known_is_left_unanswered(rig: Rig) -> None:
    rig.server.put("web", snapshot([listener("a")]))
    call = await rig.call()
    await call.write(messages.DeltaDiscoveryRequest(type_url="type.googleapis.com/other"))
    await call.write(messages.DeltaDiscoveryRequest(type_url=CLUSTER))
    kinds = sorted([(await call.read()).type_url for _ in range(2)])
    assert kinds == sorted([LISTENER, CLUSTER])
    call.cancel()


async def test_an_address_that_cannot_be_had_is_told() -> None:
    server = XdsServer(CLOCK)
    with pytest.raises(Unreachable, match="cannot listen"):
        await server.start(["unix:/nowhere/at/all/xds"])
    await server.stop()
