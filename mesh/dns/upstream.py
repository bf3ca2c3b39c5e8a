"""Upstream: one question to one other DNS server, over UDP or TCP."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

from mesh.errors import Invalid

DATAGRAM_BYTES_MAX = 65_535
_LENGTH = struct.Struct("!H")


async def exchange(
    address: tuple[str, int], data: bytes, accepts: Callable[[bytes], bool], *, tcp: bool
) -> bytes:
    """Send a question and wait for the message that is accepted as its answer.

    The caller limits the time. Over UDP only what comes from that address and port is heard, at a
    port of ours that the system chose for this question; what is not accepted is passed over.
    Raises OSError when the server cannot be reached or hangs up, Invalid when it answers over TCP
    what is not accepted.
    """
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    with socket.socket(family, kind) as own:
        own.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(own, address)
        if tcp:
            await loop.sock_sendall(own, _LENGTH.pack(len(data)) + data)
            (length,) = _LENGTH.unpack(await _read_exactly(own, _LENGTH.size))
            answer = await _read_exactly(own, length)
            if not accepts(answer):
                raise Invalid("reply: to another question")
            return answer
        await loop.sock_sendall(own, data)
        while not accepts(answer := await loop.sock_recv(own, DATAGRAM_BYTES_MAX)):
            pass
        return answer


async def _read_exactly(own: socket.socket, count: int) -> bytes:
    loop, found = asyncio.get_running_loop(), b""
    while len(found) < count:
        more = await loop.sock_recv(own, count - len(found))
        if not more:
            raise ConnectionResetError("the server hung up")
        found += more
    return found
