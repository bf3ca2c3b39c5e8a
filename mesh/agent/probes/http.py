"""HTTP checks: the status code decides."""

from __future__ import annotations

import aiohttp

from mesh.agent.checks import Result
from mesh.agent.definitions import CheckDefinition
from mesh.agent.probes.target import Contexts, reason, seconds
from mesh.agent.scripts import Tail

HEADERS = {
    "User-Agent": "mesh Health Check",
    "Accept": "text/plain, text/*, */*",
    "Accept-Encoding": "identity",
}


class HttpProbe:
    """Asks web servers, each time on a connection of its own."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def stop(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()

    async def run(self, check: CheckDefinition, contexts: Contexts) -> Result:
        """2xx passes, 429 warns, all else is critical."""
        method = check.method or "GET"
        try:
            async with self._opened().request(
                method,
                check.http,
                headers=_headers(check),
                data=check.body or None,
                allow_redirects=not check.disable_redirects,
                timeout=aiohttp.ClientTimeout(total=seconds(check)),
                ssl=contexts.get(check),
                server_hostname=check.tls_server_name or None,
            ) as response:
                text = await _body(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Result("critical", f"{method} {check.http}: {reason(error)}")
        status = "passing" if 200 <= response.status < 300 else "critical"
        if response.status == 429:
            status = "warning"
        line = f"HTTP {method} {check.http}: {response.status} {response.reason}"
        return Result(status, f"{line} Output: {text}")


def _headers(check: CheckDefinition) -> list[tuple[str, str]]:
    headers = [*HEADERS.items()]
    for name, values in check.header.items():
        headers = [pair for pair in headers if pair[0].lower() != name.lower()]
        headers += [(name, value) for value in values]
    return headers


async def _body(response: aiohttp.ClientResponse) -> str:
    kept = Tail()
    async for data in response.content.iter_any():
        kept.add(data)
    return kept.text
