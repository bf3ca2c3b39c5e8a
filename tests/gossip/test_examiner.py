"""The network doctor on real sockets: a sound pool, and pools with something wrong."""

from __future__ import annotations

import asyncio
import os
from functools import partial

import pytest

from mesh.clock import SystemClock
from mesh.errors import Busy, Invalid
from mesh.gossip.diagnosis import Finding, cell, findings
from mesh.gossip.doctor import Probe, Row, Rows, read_reply, write
from mesh.gossip.examiner import FIRST_SEQ, PINGS
from mesh.gossip.keyring import Keyring
from mesh.gossip.messages import Ack, Fault, Message, User
from tests.gossip.test_driver import Pool, pool, seed, until

__all__ = ["pool"]


def kinds(found: list[Finding]) -> list[tuple[str, str, str]]:
    return [(one.kind, one.source, one.target) for one in found]


async def test_nothing_is_wrong_with_a_sound_pool(pool: Pool) -> None:
    nodes = await pool.joined(4)
    done = await nodes[1].examiner.examine()
    paths = done.paths()
    assert {(path.source, path.target) for path in paths} == {
        (one.name, other.name) for one in nodes for other in nodes if one is not other
    }
    for path in paths:
        assert (path.sent, path.heard, path.answered) == (PINGS, PINGS, PINGS), path
        assert path.large_sent == path.large_heard > 0
        assert path.rtt is not None
        assert path.tcp is not None
        assert cell(path).endswith(" ms")
    assert [one.text for one in findings(done) if one.kind != "slow"] == []
    assert set(done.clocks) == {node.name for node in nodes}


async def test_who_answers_late_loses_nothing(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = await pool.joined(2)
    examiner, loop = nodes[0].examiner, asyncio.get_running_loop()
    hear = examiner.hear

    def late(message: Message, source: tuple[str, int]) -> bool:
        if not isinstance(message, Ack) or message.seq < FIRST_SEQ:
            return hear(message, source)
        loop.call_later(1.2, hear, message, source)
        return True

    monkeypatch.setattr(examiner, "hear", late)
    for path in (await examiner.examine()).paths():
        assert (path.heard, path.answered) == (PINGS, PINGS), path


async def test_only_those_named_take_part(pool: Pool) -> None:
    nodes = await pool.joined(4)
    done = await nodes[0].examiner.examine(["n2"])
    assert {(path.source, path.target) for path in done.paths()} == {("n0", "n2"), ("n2", "n0")}
    (remark,) = (one for one in findings(done) if one.kind == "sample")
    assert remark.text.startswith("2 of 4 members took part")
    with pytest.raises(Invalid, match="n9: no such member"):
        await nodes[0].examiner.examine(["n9"])


async def test_one_test_at_a_time(pool: Pool) -> None:
    nodes = await pool.joined(2)
    running = asyncio.create_task(nodes[0].examiner.examine())
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="running already"):
        await nodes[0].examiner.examine()
    await running
    assert (await nodes[0].examiner.examine()).paths()


async def test_a_dead_member_is_told_once(pool: Pool) -> None:
    nodes = await pool.joined(4)
    await nodes[3].stop()
    done = await nodes[0].examiner.examine()
    faults = [one for one in findings(done) if one.kind != "slow"]
    assert kinds(faults) == [("unreachable", "", "n3")]
    assert seed(nodes[3]) in faults[0].text


async def test_a_member_without_udp(pool: Pool) -> None:
    nodes = await pool.joined(4)
    assert nodes[2].transport._datagrams is not None
    nodes[2].transport._datagrams.close()
    done = await nodes[0].examiner.examine()
    faults = [one for one in findings(done) if one.kind != "slow"]
    assert kinds(faults) == [("udp-both-ways", "", "n2")]
    assert seed(nodes[2]) in faults[0].text
    assert "each of 3 others" in faults[0].text


async def test_who_cannot_be_reached_is_asked_through_others(pool: Pool) -> None:
    nodes = await pool.joined(4)
    ask = nodes[0].examiner._ask
    barred = nodes[3].address

    async def some(host, port, body, seconds):  # type: ignore[no-untyped-def]
        return await ask("127.0.0.99" if (host, port) == barred else host, port, body, seconds)

    nodes[0].examiner._ask = some
    done = await nodes[0].examiner.examine()
    faults = [one for one in findings(done) if one.kind != "slow"]
    assert kinds(faults) == [("tcp", "n0", "n3")]
    assert {path.source for path in done.paths()} == {node.name for node in nodes}


async def test_questions_that_make_no_sense(pool: Pool) -> None:
    (node,) = await pool.joined(1)
    for payload, why in (
        (b"\xf0", "cannot decode"),
        (b"\xf0" + b"\x91" * 500, "cannot decode"),
        (b"\xf0" + b"x" * 300_000, "expected up to"),
        (write(Probe(1, [f"n{number}" for number in range(40)])), "expected up to 32"),
    ):
        reply = await node.examiner._ask(*node.address, User(payload), 5.0)
        assert isinstance(reply, Fault)
        assert why in reply.text
    # Names it does not know are no reason to send anything anywhere.
    reply = await node.examiner._ask(*node.address, User(write(Probe(1, ["nobody"]))), 9.0)
    assert isinstance(reply, User)
    assert read_reply(reply.payload) == Rows([Row("nobody", "")])


async def test_a_question_that_is_asked_once_more_is_refused(pool: Pool) -> None:
    (node,) = await pool.joined(1)
    question = User(write(Probe(1, [])))
    first = asyncio.create_task(node.examiner.answer(question))
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="this test of the network is running here already"):
        await node.examiner.answer(question)
    assert read_reply((await first).payload) == Rows([])


async def test_a_clock_that_is_wrong(pool: Pool) -> None:
    nodes = await pool.joined(3)

    class Ahead(SystemClock):
        def wall(self) -> float:
            return super().wall() + 60.0

    nodes[2].examiner._clock = Ahead()
    done = await nodes[0].examiner.examine()
    (fault,) = (one for one in findings(done) if one.kind != "slow")
    assert fault.text.startswith("The clock of n2 is 60.0 s ahead of the others'")
    assert "NTP" in fault.text


async def test_a_member_with_other_keys(pool: Pool) -> None:
    rings = [Keyring([b"k" * 16], partial(os.urandom, 12)) for _ in range(3)]
    nodes = [await pool.node(f"n{at}", keyring=ring) for at, ring in enumerate(rings)]
    for node in nodes[1:]:
        await node.join([seed(nodes[0])])
    for node in nodes:
        await until(lambda node=node: len(node.members()) == 3)  # type: ignore[misc]
    assert [one.kind for one in findings(await nodes[0].examiner.examine())] in ([], ["slow"])
    # Somebody changed the keys of one, and forgot the others.
    rings[2].install(b"x" * 16)
    rings[2].use(b"x" * 16)
    rings[2].remove(b"k" * 16)
    found = {one.kind: one for one in findings(await nodes[0].examiner.examine())}
    found.pop("slow", None)
    assert found["unreachable"].target == "n2"
    assert "another encryption key or label" in found.pop("unreachable").text
    refused = found.pop("refused")
    assert refused.target in {"n0", "n1"}
    assert "encrypted with a key that it does not have" in refused.text
    assert found == {}
