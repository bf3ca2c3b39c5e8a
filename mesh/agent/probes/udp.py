"""UDP checks: a datagram; an answer passes, silence passes too, a refusal by ICMP does not."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

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
    """Send to the first address of the host, or to the next ones when nobody is at that."""
    found = await _resolved(host, port, limit)
    refusal: OSError | None = None
    async with asyncio.timeout(limit):
        for family, _, _, _, address in found:
            try:
                await _ask(family, address)
            except OSError as error:  # Also of a family that this machine has no route for.
                refusal = error
            else:
                return
    if refusal is not None:
        raise refusal


async def _resolved(host: str, port: int, limit: float) -> list[Any]:
    """The addresses of the host. Raises OSError: a silent resolver is no silent host."""
    try:
        async with asyncio.timeout(limit):
            loop = asyncio.get_running_loop()
            return await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except TimeoutError:
        raise OSError(f"{host} was not resolved in time") from None


async def _ask(family: int, address: tuple[Any, ...]) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_DGRAM) as ours:
        ours.setblocking(False)
        await loop.sock_connect(ours, address)
        ours.send(b"")  # Empty, as Consul's: it means nothing to any protocol.
        await loop.sock_recv(ours, REPLY_BYTES)
