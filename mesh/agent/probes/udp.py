"""UDP checks: a datagram; an answer passes, silence passes too, a refusal by ICMP does not."""

from __future__ import annotations

import asyncio
import socket

from mesh.agent.checks import Result
from mesh.agent.definitions import CheckDefinition
from mesh.agent.probes.target import reason, seconds, split

REPLY_BYTES = 4096


async def run(check: CheckDefinition) -> Result:
    """Critical only when the system says that nobody is there."""
    what = f"UDP connect {check.udp}"
    try:
        await _exchange(*split(check.udp), seconds(check))
    except TimeoutError:
        return Result("passing", f"{what}: Success (nobody answered, and nobody refused)")
    except (OSError, ValueError) as error:
        return Result("critical", f"{what}: {reason(error)}")
    return Result("passing", f"{what}: Success")


async def _exchange(host: str, port: int, limit: float) -> None:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    family, _, _, _, address = found[0]
    with socket.socket(family, socket.SOCK_DGRAM) as ours:
        ours.setblocking(False)
        await loop.sock_connect(ours, address)
        ours.send(b"")  # Empty, as Consul's: it means nothing to any protocol.
        async with asyncio.timeout(limit):
            await loop.sock_recv(ours, REPLY_BYTES)
