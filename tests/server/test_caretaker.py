"""The caretaker on a real log: what was to end ends, once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mesh.daemon.consensus import RaftConsensus
from mesh.registry.levels import HIGHEST, Finalize, level_of
from mesh.registry.maintenance import All, Begin, Target
from mesh.server.caretaker import Caretaker
from tests.rpc.stack import WORLD, Stack, until


async def test_what_was_to_end_ends(tmp_path: Path) -> None:
    server = await Stack(tmp_path).start()
    database, answers = server.machine.database, server.machine.answers
    await server.router.write(Finalize(level_of(database)))
    while level_of(database) < HIGHEST:
        await server.router.write(Finalize(level_of(database) + 1))
    await server.router.write(Begin(Target(node="n1"), seconds=0.05))
    await server.router.write(Begin(Target(service="web"), seconds=3600))
    await server.router.write(Begin(Target(service="db")))
    caretaker = Caretaker(
        server.forwarded,
        RaftConsensus(server.raft, lambda peer: peer.address),
        database,
        WORLD,
        0.01,
    )
    running = asyncio.create_task(caretaker.run())
    await until(lambda: len(answers.read(All()).value) == 2)
    applied = server.raft.applied_index
    for _ in range(10):
        await asyncio.sleep(0.01)
    assert server.raft.applied_index == applied
    assert [row.target.service for row in answers.read(All()).value] == ["db", "web"]
    running.cancel()
    await server.stop()
