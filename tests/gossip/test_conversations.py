"""Events and queries between nodes on real sockets."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator

import msgspec
import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.errors import Conflict, Invalid, TooLarge
from mesh.gossip.driver import TELLING_MAX, Gossip, Options
from mesh.gossip.events import UserEvent
from mesh.gossip.keyring import Keyring
from mesh.gossip.queries import Answer, Asked, Filters
from mesh.gossip.vivaldi import estimate
from tests.gossip.test_driver import FAST, Pool, seed, statuses, until

OPTIONS = Options(bind_address="", **FAST)  # type: ignore[arg-type]


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool()
    yield made
    for node in made.nodes:
        await node.stop()


def listen(node: Gossip) -> list[UserEvent]:
    heard: list[UserEvent] = []
    node.on_event(heard.append)
    return heard


async def test_an_event_is_heard_by_everybody_once(pool: Pool) -> None:
    nodes = await pool.joined(4)
    heard = [listen(node) for node in nodes]
    time = nodes[1].fire("deploy", b"v1", coalesce=True)
    nodes[2].fire("deploy", b"v2")
    for one in heard:
        await until(lambda one=one: len(one) == 2)  # type: ignore[misc]
        assert UserEvent(time, "deploy", b"v1", coalesce=True) in one
        assert {event.payload for event in one} == {b"v1", b"v2"}
    # State is exchanged several times meanwhile, which repeats the events.
    await asyncio.sleep(1.2)
    assert [len(one) for one in heard] == [2, 2, 2, 2]


async def test_who_joins_later_hears_it_unless_it_does_not_want_to(pool: Pool) -> None:
    first = await pool.node("first")
    first.fire("before", b"")
    eager, calm = await pool.node("eager"), await pool.node("calm")
    heard, less = listen(eager), listen(calm)
    await eager.join([seed(first)])
    # While it is still passed on, a newcomer may hear it before it knows what is old.
    await until(lambda: not first.pool.depths()["events"] and not eager.pool.depths()["events"])
    await calm.join([seed(first)], ignore_old=True)
    first.fire("after", b"")
    await until(lambda: [event.name for event in heard] == ["before", "after"])
    await until(lambda: [event.name for event in less] == ["after"])


async def test_a_listener_that_fails_or_is_gone_keeps_nobody_waiting(pool: Pool) -> None:
    (node,) = await pool.joined(1)

    def fail(_: UserEvent) -> None:
        raise ValueError

    node.on_event(fail)
    kept, gone = listen(node), list[UserEvent]()
    node.on_event(gone.append)()
    node.fire("x", b"")
    assert ([event.name for event in kept], gone) == (["x"], [])
    assert node.counters["listener_failures"] == 1
    with pytest.raises(TooLarge, match="limit is 512"):
        node.fire("x", b"y" * 600)


async def test_a_query_gets_the_answer_of_everybody_who_has_one(pool: Pool) -> None:
    nodes = await pool.joined(3)
    nodes[0].respond("load", lambda asked: asked.payload + b"0")

    async def later(asked: Asked) -> bytes:
        await asyncio.sleep(0)
        return asked.source.encode()

    nodes[1].respond("load", later)
    nodes[2].respond("load", lambda _: None)
    answers = nodes[2].query("load", b"p", ack=True, relay_factor=1, seconds=1.0)
    got = [answer async for answer in answers]
    assert sorted(got, key=lambda one: (one.ack, one.source)) == [
        Answer("n0", b"p0"),
        Answer("n1", b"n2"),
        Answer("n0", b"", ack=True),
        Answer("n1", b"", ack=True),
        Answer("n2", b"", ack=True),
    ]
    with pytest.raises(StopAsyncIteration):
        await anext(answers)


async def test_a_query_reaches_who_passes_the_filters(pool: Pool) -> None:
    web = await pool.node("web", {"role": "web-1"})
    other = await pool.node("other", {"role": "db"})
    await other.join([seed(web)])
    await until(lambda: len(statuses(web)) == 2)
    for filters, expected in (
        (Filters(nodes=["other"]), {"other"}),
        (Filters(tags={"role": "^web-[0-9]$"}), {"web"}),
        (Filters(nodes=["web"], tags={"role": "db"}), set()),
        (Filters(tags={"none": "^$"}), {"web", "other"}),
    ):
        answers = web.query("any", filters=filters, ack=True, seconds=0.5)
        assert {answer.source async for answer in answers} == expected
    with pytest.raises(Invalid, match="missing \\)"):
        web.query("any", filters=Filters(tags={"role": "("}))


async def test_what_is_too_large_or_late_is_refused_by_name(pool: Pool) -> None:
    (node,) = await pool.joined(1)
    with pytest.raises(TooLarge, match=r"query takes .* the limit is 1024"):
        node.query("x", b"y" * 1000)
    node.respond("large", lambda _: b"y" * 1000)
    assert [one async for one in node.query("large", seconds=0.2)] == []
    assert node.counters["responder_failures"] == 1

    async def never(_: Asked) -> bytes:
        await asyncio.Event().wait()
        return b""

    node.respond("never", never)
    assert [one async for one in node.query("never", seconds=0.2)] == []
    await until(lambda: node.counters["answers_not_ready"] == 1)


async def test_a_name_has_one_responder_and_serfs_names_none(pool: Pool) -> None:
    (node,) = await pool.joined(1)
    end = node.respond("x", lambda _: b"1")
    with pytest.raises(Conflict, match="queries x are answered already"):
        node.respond("x", lambda _: b"2")
    end()
    node.respond("x", lambda _: b"3")
    assert [one.payload async for one in node.query("x", seconds=0.2)] == [b"3"]
    with pytest.raises(Invalid, match="belong to Serf"):
        node.respond("_serf_x", lambda _: b"")


async def test_waiting_ends_early_with_close_and_with_the_node(pool: Pool) -> None:
    (node,) = await pool.joined(1)
    answers = node.query("x", seconds=60)
    answers.close()
    assert [one async for one in answers] == []
    answers = node.query("x", seconds=60)
    assert 50 < answers.deadline - SystemClock().monotonic() <= 60
    await node.stop()
    assert [one async for one in answers] == []
    with pytest.raises(Conflict, match="not in the pool"):
        node.query("x")
    with pytest.raises(Conflict, match="not in the pool"):
        node.fire("x", b"")


async def test_large_events_go_over_streams(pool: Pool) -> None:
    nodes = [await pool.node(f"n{number}", event_bytes_max=9 * 1024) for number in range(4)]
    for node in nodes[1:]:
        await node.join([seed(nodes[0])])
    for node in nodes:
        await until(lambda node=node: len(statuses(node)) == 4)  # type: ignore[misc]
    heard = [listen(node) for node in nodes]
    nodes[2].fire("large", b"x" * 9000)
    for one in heard:
        await until(lambda one=one: len(one) == 1)  # type: ignore[misc]
        assert len(one[0].payload) == 9000
    with pytest.raises(TooLarge, match="limit is 9216"):
        nodes[2].fire("large", b"x" * 9300)
    assert all(node.pool.depths()["events"] == 0 for node in nodes)


async def test_a_flood_of_large_events_opens_only_so_many_streams(pool: Pool) -> None:
    nodes = [await pool.node(f"n{number}", event_bytes_max=9 * 1024) for number in range(2)]
    one, two = nodes
    await two.join([seed(one)])
    await until(lambda: len(statuses(one)) == 2)
    for _ in range(TELLING_MAX + 44):
        one.fire("large", b"x" * 2000)
    await until(lambda: one.counters["large_messages_dropped"] == 44)
    # Once the first ones are through, others are passed on again.
    await until(lambda: one._telling == 0)
    heard = listen(two)
    one.fire("one more", b"x" * 2000)
    await until(lambda: "one more" in [event.name for event in heard])
    assert one.counters["large_messages_dropped"] == 44


async def test_the_keys_of_a_pool_are_changed_by_one_order(pool: Pool) -> None:
    old, new = b"o" * 16, b"n" * 32
    numbers = itertools.count()
    rings = [Keyring([old], lambda: next(numbers).to_bytes(12, "big")) for _ in range(2)]
    for number, ring in enumerate(rings):
        options = msgspec.structs.replace(OPTIONS, bind_address=f"127.0.0.{number + 1}")
        dice = SeededDice(number)
        node = Gossip(f"n{number}", options, SystemClock(), dice, keyring=ring)
        await node.start()
        pool.nodes.append(node)
    one, two = pool.nodes
    await two.join([seed(one)])
    await until(lambda: len(statuses(one)) == 2)
    report = await one.keys.use(new)
    assert (report.complete, report.silent) == (False, [])
    assert {result.ok for result in report.results.values()} == {False}
    for order in (one.keys.install, two.keys.use):
        assert (await order(new)).complete
    assert [ring.list() for ring in rings] == [[new, old]] * 2
    assert (await one.keys.remove(old)).complete
    shown = base64.b64encode(new).decode()
    report = await two.keys.list()
    assert report.counts() == {shown: 2}
    assert report.results["n0"].primary == shown
    with pytest.raises(Invalid, match="16, 24 or 32 bytes"):
        await one.keys.install(b"short")
    plain = await pool.node("plain")
    with pytest.raises(Conflict, match="not encrypted"):
        await plain.keys.list()


async def test_members_know_how_far_each_other_is(pool: Pool) -> None:
    nodes = await pool.joined(3)
    for node in nodes:
        await until(lambda node=node: len(node.coordinates()) == 2)  # type: ignore[misc]
        await until(lambda node=node: node.coordinate().error < 1.5)  # type: ignore[misc]
        assert set(node.coordinates()) == {one.name for one in nodes} - {node.name}
    seconds = estimate(nodes[0].coordinate(), nodes[0].coordinates()["n1"])
    assert 0 < seconds < 30.0
