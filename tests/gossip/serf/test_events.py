"""User events between real serf agents and nodes of ours."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mesh.gossip.driver import Gossip
from mesh.gossip.events import UserEvent
from tests.gossip.serf.harness import Agents, Ours, Serf, bad, sees, until, where


def listen(node: Gossip) -> list[UserEvent]:
    heard: list[UserEvent] = []
    node.on_event(heard.append)
    return heard


def noting(file: Path) -> list[str]:
    """Arguments with which an agent writes each user event to a file."""
    script = f'echo "$SERF_USER_EVENT $(cat)" >> {file}'
    return ["-event-handler", f"user={script}"]


def noted(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


async def test_t7_events_arrive_both_ways_once(agents: Agents, ours: Ours, tmp_path: Path) -> None:
    files = [tmp_path / "one.events", tmp_path / "two.events"]
    one, _ = [
        await agents.start(name, more=noting(file))
        for name, file in zip(("one", "two"), files, strict=True)
    ]
    await agents.all[1].says("Successfully", "join", one.bind)
    nodes = [await ours.node("ours"), await ours.node("other")]
    heard = [listen(node) for node in nodes]
    for node in nodes:
        await node.join([one.bind])
        await sees(node, one="alive", two="alive")
    await one.says("dispatched", "event", "-coalesce=false", "deploy", "theirs")
    for events in heard:
        await until(lambda events=events: len(events) == 1)  # type: ignore[misc]
        assert (events[0].name, events[0].payload) == ("deploy", b"theirs")
        assert not events[0].coalesce
    nodes[0].fire("deploy", b"ours", coalesce=True)
    nodes[1].fire("large", b"x" * 440)
    everything = {"deploy theirs", "deploy ours", "large " + "x" * 440}
    for file in files:
        await until(lambda file=file: len(noted(file)) >= 3)  # type: ignore[misc]
    # State is exchanged meanwhile, which repeats the events.
    await asyncio.sleep(2.5)
    for file in files:
        assert sorted(noted(file)) == sorted(everything)
    for events in heard:
        assert {f"{event.name} {event.payload.decode()}" for event in events} == everything
        assert len(events) == 3
    assert [bad(node) for node in nodes] == [{}, {}]


async def test_t8_events_are_replayed_to_who_joins_unless_not_wanted(
    agents: Agents, ours: Ours, tmp_path: Path
) -> None:
    file = tmp_path / "late.events"
    theirs = await agents.start()
    for number in range(3):
        await theirs.says("dispatched", "event", "before", str(number))
    eager, calm = await ours.node("eager"), await ours.node("calm")
    heard, less = listen(eager), listen(calm)
    await eager.join([theirs.bind])
    await until(lambda: [event.payload for event in heard] == [b"0", b"1", b"2"])

    async def quiet() -> bool:
        waiting = int((await theirs.stats())["serf"]["event_queue"])
        return waiting == 0 == eager.pool.depths()["events"]

    # While they are still passed on, a newcomer may hear them before it knows what is old.
    await until(quiet, "nothing is passed on any more")
    await calm.join([theirs.bind], ignore_old=True)
    eager.fire("ours", b"")
    await until(lambda: [event.name for event in less] == ["ours"])
    # What we fired is replayed to an agent that joins through us.
    late = await agents.start("late", more=noting(file))
    await _join(late, "-replay", where(calm))
    await until(lambda: "ours " in noted(file))
    silent = tmp_path / "silent.events"
    other = await agents.start("silent", more=noting(silent))
    await _join(other, where(eager))
    await other.sees(eager="alive", late="alive")
    await eager.join([theirs.bind])
    eager.fire("last", b"")
    await until(lambda: noted(silent) == ["last "])


async def test_t7_serf_hears_events_too_large_for_a_packet(
    agents: Agents, ours: Ours, tmp_path: Path
) -> None:
    file = tmp_path / "events"
    theirs = await agents.start(more=noting(file))
    node = await ours.node(event_bytes_max=9 * 1024)
    await node.join([theirs.bind])
    await sees(node, theirs="alive")
    node.fire("large", b"x" * 3000)
    await until(lambda: noted(file) == ["large " + "x" * 3000])


async def _join(agent: Serf, *arguments: str) -> None:
    await agent.says("Successfully", "join", *arguments)
