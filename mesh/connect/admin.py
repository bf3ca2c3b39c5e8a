"""Envoy's admin interface, on the socket that only its agent may use."""

from __future__ import annotations

import asyncio

from mesh.errors import Invalid, Unreachable

ANSWER_MAX_BYTES = 64 * 1024 * 1024
SECONDS = 5.0


async def ask(path: str, target: str, method: str = "GET", seconds: float = SECONDS) -> bytes:
    """What Envoy answers to a request for this target (`/ready`).

    Raises Unreachable when nobody answers in so many seconds, Invalid for any status but 200.
    """
    try:
        async with asyncio.timeout(seconds):
            status, body = await _exchange(path, target, method)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
        raise Unreachable(f"Envoy's admin socket {path}: {str(error) or 'no answer'}") from error
    if status != 200:
        raise Invalid(f"Envoy's {target}: {status} {body[:200].decode(errors='replace').strip()}")
    return body


async def _exchange(path: str, target: str, method: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        head = f"{method} {target} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()
        first = await reader.readline()
        status = int(first.split()[1]) if len(first.split()) > 1 else 0
        length, chunked = 0, False
        while line := (await reader.readline()).strip().lower():
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
            chunked = chunked or line == b"transfer-encoding: chunked"
        if chunked:
            return status, await _chunks(reader)
        if length > ANSWER_MAX_BYTES:
            raise ValueError(f"an answer of {length} bytes")
        return status, await reader.readexactly(length)
    finally:
        writer.close()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    found, total = [], 0
    while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
        total += size
        if total > ANSWER_MAX_BYTES:
            raise ValueError("an answer without end")
        found.append((await reader.readexactly(size + 2))[:-2])
    return b"".join(found)
