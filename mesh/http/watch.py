"""/v1/internal/ui/watch: many blocking queries in one request.

A browser opens six connections to a server at most (HTTP/1.1), to be shared by all its tabs, so a
page that follows ten answers cannot ask for each by itself.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable
from urllib.parse import quote

import msgspec

from mesh.errors import Invalid
from mesh.http import params
from mesh.http.request import JSON, Reply, Request
from mesh.http.route import Route
from mesh.http.shapes import Shape
from mesh.http.splices import SpliceShape, splices
from mesh.tasks import spawn

ASKS_MAX = 64
WAIT_MAX_SECONDS = 300.0
POLL_SECONDS = 0.5
"""How often that is asked again which has no index to wait by."""
FIRST_SECONDS = 1.0
"""How long news waits for what the page does not have at all, which would else be begun anew."""
TOGETHER_SECONDS = 0.02
"""How long news waits for other news: one change often shows in several answers."""
PART = 7 / 8
"""So much of the time is waited by index: an answer with a lower index comes only when the wait is
over, jitter included, and has to come before the time is."""
_INDEX = "X-Consul-Index"
_DONE = 200
_FAILED = 500


class AskShape(Shape, frozen=True):
    """Something to follow: a path of the API with its query, and the mark of what one has."""

    path: str
    mark: str = ""


class WatchShape(Shape, frozen=True):
    """What to follow, and for how many seconds at most."""

    asks: list[AskShape]
    wait_seconds: float = 60.0


class NewsShape(Shape, frozen=True, kw_only=True):
    """A new answer: JSON as it is, or text as a string, with the mark to ask for the next one.

    Of a long list of which little changed there is no body, but splices of the list that has the
    mark asked with.
    """

    path: str
    mark: str
    status: int
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    splices: list[SpliceShape] | msgspec.UnsetType = msgspec.UNSET


async def watch(request: Request) -> Reply:
    """Answer as soon as one of the answers is another than the one that has the mark given."""
    asked = params.body(request, WatchShape)
    if len(asked.asks) > ASKS_MAX:
        raise Invalid(f"Asks: at most {ASKS_MAX}, got {len(asked.asks)}")
    for one in asked.asks:
        if not one.path.startswith("/v1/") or one.path.startswith(ROUTES[0].path):
            raise Invalid(f'Asks: Path: expected a path of the API, got "{one.path[:100]}"')
    longest = min(request.options.max_query_seconds, WAIT_MAX_SECONDS)
    seconds = min(max(asked.wait_seconds, 0.0), longest)
    news = await _first(request, asked.asks, seconds)
    return Reply(msgspec.json.encode(news))


async def _first(request: Request, asks: Iterable[AskShape], seconds: float) -> list[NewsShape]:
    """What is new, when there is some; nothing when the time is over."""
    tasks = {spawn(_follow(request, one, seconds)): one for one in asks}
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        fresh = [task for task, one in tasks.items() if not one.mark]
        await asyncio.wait(fresh or tasks, timeout=FIRST_SECONDS if fresh else TOGETHER_SECONDS)
        done = [task.result() for task in tasks if task.done()]
        return [one for one in done if one is not None]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(request: Request, ask: AskShape, seconds: float) -> NewsShape | None:
    """The answer once its mark is another; None when the time is over."""
    assert request.inner is not None
    clock = request.parts.clock
    until = clock.monotonic() + seconds
    kind, _, rest = ask.mark.partition(":")
    value = rest.partition(":")[0]
    while True:
        left = max(until - clock.monotonic(), 0.0)
        target = ask.path
        if kind == "index":
            mark = "&" if "?" in target else "?"
            target += f"{mark}index={quote(value)}&wait={max(int(left * PART * 1000), 1)}ms"
        reply = await request.inner(request, target)
        found = _mark(reply)
        if found != ask.mark:
            return _news(request, ask, found, reply)
        if clock.monotonic() >= until:
            return None
        # Not every answer that has an index waits by it.
        if kind != "index" or clock.monotonic() < until - left + POLL_SECONDS:
            await clock.sleep(min(POLL_SECONDS, left))


def _news(request: Request, ask: AskShape, mark: str, reply: Reply) -> NewsShape:
    recent, path = request.parts.recent, f"{params.token(request)} {ask.path}"
    told = NewsShape(path=ask.path, mark=mark, status=reply.status)
    if reply.status == _DONE:
        before = recent.find(path, ask.mark) if ask.mark else b""
        recent.keep(path, mark, reply.body)
        if (found := splices(before, reply.body)) is not None:
            return msgspec.structs.replace(told, splices=found)
    return msgspec.structs.replace(told, body=_raw(reply))


def _mark(reply: Reply) -> str:
    """By what an answer is known again: its bytes, and its index if it has one to wait by."""
    index = reply.headers.get(_INDEX, "")
    content = f"{reply.status}-{zlib.crc32(reply.body):08x}-{len(reply.body)}"
    if index and index != "0" and reply.status < _FAILED:
        return f"index:{index}:{content}"
    return f"bytes:{content}"


def _raw(reply: Reply) -> msgspec.Raw:
    if reply.content_type == JSON and reply.body and reply.status == _DONE:
        return msgspec.Raw(reply.body)
    return msgspec.Raw(msgspec.json.encode(reply.body.decode(errors="replace")))


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/internal/ui/watch",
        watch,
        "Follow many answers at once: those that are new, as soon as there is one",
        body=WatchShape,
        answer=list[NewsShape],
        waits=True,
    ),
)
