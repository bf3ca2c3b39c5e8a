"""/v1/internal/ui/metrics-proxy: what a metrics server says, for the UI beside which it is not."""

from __future__ import annotations

import posixpath
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp

from mesh.http import respond
from mesh.http.request import TEXT, Reply, Request
from mesh.http.route import Route

SECONDS_MAX = 30.0
ANSWER_MAX_BYTES = 16 * 2**20
OWN = ("token", "dc", "datacenter", "pretty")
"""Parameters that are for the agent, the token above all."""


async def proxied(request: Request) -> Reply:
    """Ask the metrics server what follows the path; 404 when none is configured."""
    options = request.options
    if not options.metrics_url:
        return respond.text(404, "Metrics proxy is not enabled [ui_config.metrics_proxy.base_url]")
    path = _path(options.metrics_url, request.rest)
    if path is None or not _allowed(request, path):
        return respond.text(403, f'path "{path}" is not in ui_config.metrics_proxy.path_allowlist')
    query = urlencode(
        [(name, one) for name, some in request.params.items() if name not in OWN for one in some]
    )
    parts = urlsplit(options.metrics_url)
    url = parts._replace(path=path, query=query).geturl()
    try:
        return await _ask(url, dict(options.metrics_headers))
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return respond.text(502, f"the metrics server could not be asked: {error!r}")


def _path(base: str, rest: str) -> str | None:
    """The path to ask for; None when it leads out of the server's own."""
    root = posixpath.normpath(urlsplit(base).path or "/").rstrip("/")
    path = posixpath.normpath(f"{root}/{rest}")
    return path if path.startswith(f"{root}/") else None


def _allowed(request: Request, path: str) -> bool:
    allowed = request.options.metrics_paths
    root = posixpath.normpath(urlsplit(request.options.metrics_url).path or "/").rstrip("/")
    return not allowed or path.removeprefix(root) in allowed


async def _ask(url: str, headers: dict[str, str]) -> Reply:
    timeout = aiohttp.ClientTimeout(SECONDS_MAX)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(url, headers=headers, allow_redirects=False) as got,
    ):
        if got.status not in {one.value for one in HTTPStatus if one >= HTTPStatus.OK}:
            return respond.text(502, f"the metrics server answered with status {got.status}")
        body = bytearray()
        async for piece in got.content.iter_any():
            body += piece
            if len(body) > ANSWER_MAX_BYTES:
                return respond.text(502, f"the metrics server sent over {ANSWER_MAX_BYTES} bytes")
        return Reply(bytes(body), got.status, got.content_type or "application/octet-stream")


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/internal/ui/metrics-proxy/:path",
        proxied,
        "What the metrics server of the configuration says",
        answer=Any,
        media=(TEXT, "application/octet-stream"),
        statuses=(
            (403, "The path is not one that may be asked"),
            (404, "No metrics server is configured"),
            (502, "The metrics server could not be asked"),
        ),
    ),
)
