"""/v1/internal/ui/watch: many blocking queries in one request.

A browser opens six connections to a server at most (HTTP/1.1), to be shared by all its tabs, so a
page that follows ten answers cannot ask for each by itself.

What a request waits for goes on for a while after it was told other news: the next request finds it
under way. So what takes long is told even if there is other news all the time. Pages that have the
same wait for the same.
"""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import Iterable
from urllib.parse import quote

import msgspec

from mesh.errors import Invalid
from mesh.http import params
from mesh.http.flights import Flight
from mesh.http.request import JSON, Reply, Request
from mesh.http.route import Route
from mesh.http.shapes import Shape
from mesh.http.splices import SpliceShape, splices

ASKS_MAX = 64
WAIT_MAX_SECONDS = 300.0
POLL_SECONDS = 0.5
"""How often that is asked again which has no index to wait by."""
FIRST_SECONDS = 1.0
"""How long news waits for what the page does not have at all."""
GOES_ON_SECONDS = 10.0
"""How long is waited for the next request of a page, which first has to read this answer."""
GONE_SECONDS = 2.0
"""The same after a request was given up: a page that shows something else asks again at once."""
TOGETHER_SECONDS = 0.02
"""How long news waits for other news: one change often shows in several answers."""
PART = 7 / 8
"""So much of the time is waited by index: an answer with a lower index comes only when the wait is
over, jitter included, and has to come before the time is."""
HEADERS = ("accept", "authorization", "cache-control", "x-consul-token", "x-forwarded-for")
"""What answers may depend on: only these go with what is asked for a page."""
_INDEX = "X-Consul-Index"
_DONE = 200
_FAILED = 500


class AskShape(Shape, frozen=True):
    """Something to follow: a path of the API with its query, and the mark of what one has.

    Who has nothing gives `new:` and a text of its own, by which the next request finds what this
    one began. Without a mark it is begun with each request.
    """

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
    given = {name: request.headers[name] for name in HEADERS if name in request.headers}
    asker = msgspec.structs.replace(request, headers=given, body=b"")
    joined = [(one, _join(asker, one, seconds)) for one in asks]
    if not joined:
        return []
    tasks = [flight.task for _, flight in joined]
    told = False
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        fresh = [flight.task for one, flight in joined if not _has(one)]
        await asyncio.wait(fresh or tasks, timeout=FIRST_SECONDS if fresh else TOGETHER_SECONDS)
        news: list[NewsShape] = [task.result() for task in tasks if task.done()]
        told = True
        return news
    finally:
        for one, flight in joined:
            goes_on = GOES_ON_SECONDS if told else GONE_SECONDS
            request.parts.flights.leave(flight, goes_on if one.mark else 0.0, told=told)


def _has(ask: AskShape) -> bool:
    """Whether who asks has an answer already."""
    return ask.mark.startswith(("index:", "bytes:"))


def _join(asker: Request, ask: AskShape, seconds: float) -> Flight:
    known, told = _known(ask.mark)
    whose = (asker.remote, id(asker.options), *asker.headers.items())
    return asker.parts.flights.join(
        (whose, ask.path, known) if ask.mark else object(),
        lambda flight: _follow(asker, ask, seconds, flight),
        told,
    )


async def _follow(asker: Request, ask: AskShape, seconds: float, flight: Flight) -> NewsShape:
    """The answer once its mark is another."""
    assert asker.inner is not None
    clock, (known, _) = asker.parts.clock, _known(ask.mark)
    kind, _, value = known.partition(":")
    target = ask.path
    if kind == "index":
        sign = "&" if "?" in target else "?"
        wait = max(int(seconds * PART * 1000), 1)
        target += f"{sign}index={quote(value.partition(':')[0])}&wait={wait}ms"
    while True:
        flight.since = began = clock.monotonic()
        reply = await asker.inner(asker, target)
        mark = _mark(reply)
        if mark != known:
            flight.size = len(reply.body)
            return _news(asker, ask, mark, reply)
        # Not every answer that has an index waits by it.
        if kind != "index" or clock.monotonic() < began + POLL_SECONDS:
            flight.since = math.inf
            await clock.sleep(POLL_SECONDS)


def _news(request: Request, ask: AskShape, mark: str, reply: Reply) -> NewsShape:
    recent, path = request.parts.recent, f"{params.token(request)} {ask.path}"
    at = int(request.parts.clock.monotonic() * 1000) + 1
    when = f":{at}" if mark.startswith("bytes:") else ""
    told = NewsShape(path=ask.path, mark=mark + when, status=reply.status)
    if reply.status == _DONE and reply.content_type == JSON:
        before = recent.find(path, _known(ask.mark)[0]) if _has(ask) else b""
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


def _known(mark: str) -> tuple[str, float]:
    """What the answer with this mark is known by, and when it was told, in seconds of our clock.

    An answer without an index may become what it was before, so only the time says which of two is
    the later one.
    """
    kind, _, rest = mark.partition(":")
    content, _, told = rest.partition(":")
    if kind != "bytes" or not told.isdecimal() or not told.isascii():
        return mark, 0.0
    return f"bytes:{content}", int(told[:16]) / 1000


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
