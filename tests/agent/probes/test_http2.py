"""HTTP/2 against a server that says anything: a probe ends, and raises nothing but OSError."""

from __future__ import annotations

import asyncio

import pytest

from mesh.agent.probes import grpc, h2ping
from mesh.agent.probes.http2 import open_connection
from mesh.agent.probes.target import Contexts
from mesh.clock import SeededDice
from tests.agent.probes.conftest import Serve, check, saying

SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
FLAGS = (0, 1, 4, 5, 8, 0x20)


def frame(dice: SeededDice) -> bytes:
    """A frame that may make sense: any type and flags, some stream, any content."""
    content = bytes(dice.choice(range(256)) for _ in range(dice.choice(range(40))))
    kind, flags, stream = dice.choice(range(11)), dice.choice(FLAGS), dice.choice((0, 1, 1, 2, 3))
    return (
        len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content
    )


@pytest.mark.parametrize("seed", range(60))
async def test_any_frames(contexts: Contexts, seed: int) -> None:
    dice = SeededDice(seed)
    said = SETTINGS + b"".join(frame(dice) for _ in range(dice.choice(range(1, 8))))
    async with saying(said) as address:
        asked = await grpc.run(check(GRPC=address, Timeout="2s"), contexts)
        ping = await h2ping.run(check(H2PING=address, H2PingUseTLS=False, Timeout="2s"), contexts)
    assert {asked.status, ping.status} <= {"critical", "passing"}
    assert "timed out" not in asked.output + ping.output


async def test_what_was_answered_before_the_other_side_goes_away_counts(
    contexts: Contexts,
) -> None:
    answer = b"\x00\x00\x08\x06\x01\x00\x00\x00\x00" + bytes(8)
    farewell = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + bytes(8)
    for said, status in ((answer + farewell, "passing"), (farewell + answer, "critical")):
        async with saying(SETTINGS + said) as address:
            asked = check(H2PING=address, H2PingUseTLS=False, Timeout="2s")
            assert (await h2ping.run(asked, contexts)).status == status


async def test_two_calls_on_one_connection(grpc_server: Serve, contexts: Contexts) -> None:
    address = grpc_server()
    connection = await open_connection(address, check(GRPC=address), contexts, over_tls=False)
    async with asyncio.timeout(30):
        for _ in range(2):
            response = await connection.call(grpc.PATH, address, "http", b"\x00\x00\x00\x00\x00")
            assert response.headers["grpc-status"] == "0"
        await connection.ping()
    connection.close()
