"""Real serf agents with and without compression, and nodes of ours that compress or do not."""

from __future__ import annotations

from mesh.gossip.options import Compression
from tests.gossip.serf.harness import Agents, Ours, bad, both, sees, until

EVERYTHING = Compression(packets=True, streams_from_bytes=1)
NOTHING = Compression(packets=False, streams_from_bytes=0)


@both
async def test_t17_compressed_and_plain_agents_mixed(agents: Agents, ours: Ours) -> None:
    packs = await agents.start("packs")
    plain = await agents.start("plain", more=["-disable-compression"])
    await plain.says("Successfully", "join", packs.bind)
    tags = {"role": "again and again and again and again and again"}
    small = await ours.node("small", tags, compression=EVERYTHING)
    large = await ours.node("large", tags, compression=NOTHING)
    await small.join([plain.bind])
    await large.join([packs.bind])
    everybody = dict.fromkeys(("packs", "plain", "small", "large"), "alive")
    for agent in (packs, plain):
        await agent.sees(**everybody)
    for node in (small, large):
        await sees(node, **everybody)
    # Events, packed by those who pack, reach everybody.
    heard: list[bytes] = []
    for node in (small, large):
        node.on_event(lambda event: heard.append(event.payload))
    body = b"abcd" * 60
    small.fire("long", body)
    await until(lambda: heard == [body] * 2, "our event")
    for agent in (packs, plain):
        await agent.logs("long")
    heard.clear()
    await packs.ask("event", "theirs", body.decode())
    await plain.ask("event", "theirs", body.decode()[:-4])
    await until(lambda: sorted(heard) == sorted([body, body, body[:-4], body[:-4]]))
    # State goes round too, many times over.
    small.set_tags({"role": "y" * 300})
    for agent in (packs, plain):
        await agent.says("y" * 300, "members", "-name=small")
    assert [bad(node) for node in (small, large)] == [{}, {}]
