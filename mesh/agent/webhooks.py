"""Webhooks: news sent to a URL."""

from __future__ import annotations

import aiohttp

from mesh.agent.watches import HttpHandler
from mesh.errors import Unreachable


async def send(handler: HttpHandler, index: int, news: bytes) -> None:
    """Send the news as JSON. Raises Unreachable, saying why, when they are not taken."""
    headers = [("Content-Type", "application/json"), ("X-Consul-Index", str(index))]
    for name, values in handler.header.items():
        headers = [pair for pair in headers if pair[0].lower() != name.lower()]
        headers += [(name, value) for value in values]
    timeout = aiohttp.ClientTimeout(total=handler.seconds)
    connector = aiohttp.TCPConnector(force_close=True)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.request(
                handler.method,
                handler.path,
                headers=headers,
                data=news,
                ssl=not handler.tls_skip_verify,
            ) as response,
        ):
            status = response.status
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unreachable(f"{handler.path}: {str(error) or 'timed out'}") from error
    if not 200 <= status < 300:
        raise Unreachable(f"{handler.path}: answered with status {status}")
