"""/debug/pprof: profiles of this process while it runs, where enable_debug allows."""

from __future__ import annotations

import functools
import sys
import threading
from collections import Counter
from types import FrameType

from mesh.errors import Busy, Invalid
from mesh.http import params, respond
from mesh.http.request import TEXT, Handler, Reply, Request
from mesh.http.route import Param, Route

SAMPLER = "profile"
SAMPLE_SECONDS = 0.01
SECONDS_DEFAULT, SECONDS_MAX = 30, 300
DEPTH_MAX = 200
INDEX = """Profiles of this process:

/debug/pprof/cmdline           how it was started
/debug/pprof/profile?seconds=N samples of its main thread, as folded stacks for flame graphs
/debug/pprof/goroutine         where each of its threads is now
"""


def _if_allowed(handler: Handler) -> Handler:
    @functools.wraps(handler)
    async def guarded(request: Request) -> Reply:
        if not request.options.enable_debug:
            return respond.text(404, "profiles are off [enable_debug]")
        return await handler(request)

    return guarded


@_if_allowed
async def index(_: Request) -> Reply:
    """What there is."""
    return respond.text(200, INDEX)


@_if_allowed
async def cmdline(_: Request) -> Reply:
    """How the process was started, its words parted by NUL."""
    return Reply("\0".join(sys.orig_argv).encode(), content_type=TEXT)


@_if_allowed
async def profile(request: Request) -> Reply:
    """Sample the main thread every 10 ms.

    The answer has a line for each stack seen, its functions from the outermost on parted by `;`,
    and how often it was seen: the folded stacks that flame graphs are made of. It is not the
    protocol buffer of Go's pprof.
    """
    text = request.param("seconds")
    seconds = params.whole(text, "seconds") if text else SECONDS_DEFAULT
    if not 1 <= seconds <= SECONDS_MAX:
        raise Invalid(f"seconds: expected 1 to {SECONDS_MAX}, got {seconds}")
    if any(one.name == SAMPLER for one in threading.enumerate()):
        raise Busy("a profile is being taken already")
    clock, main = request.parts.clock, threading.main_thread().ident
    seen: Counter[str] = Counter()
    done = threading.Event()

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            frame = sys._current_frames().get(main or 0)  # noqa: SLF001 - there is no other way.
            if frame is not None:
                seen[_folded(frame)] += 1

    sampler = threading.Thread(target=sample, name=SAMPLER, daemon=True)
    sampler.start()
    try:
        await clock.sleep(seconds)
    finally:
        done.set()
    lines = [f"{stack} {count}" for stack, count in sorted(seen.items())]
    return respond.text(200, "\n".join(lines) + "\n")


def _folded(frame: FrameType | None) -> str:
    names: list[str] = []
    while frame is not None and len(names) < DEPTH_MAX:
        module = frame.f_globals.get("__name__", "?")
        names.append(f"{module}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    return ";".join(reversed(names))


@_if_allowed
async def threads(_: Request) -> Reply:
    """Where each thread is now, the innermost function last."""
    names = {one.ident: one.name for one in threading.enumerate()}
    frames = sys._current_frames().items()  # noqa: SLF001 - there is no other way.
    lines = [f"{names.get(ident, ident)}: {_folded(frame)}" for ident, frame in frames]
    return respond.text(200, "\n".join(sorted(lines)) + "\n")


@_if_allowed
async def unknown(_: Request) -> Reply:
    """Say that Python has no such thing."""
    return respond.text(404, "Python programs have no execution trace and no symbol table")


_OFF = ((404, "enable_debug is off"),)

ROUTES: tuple[Route, ...] = (
    Route("GET", "/debug/pprof/", index, "Which profiles there are", media=(TEXT,), statuses=_OFF),
    Route(
        "GET",
        "/debug/pprof/cmdline",
        cmdline,
        "How the process was started",
        media=(TEXT,),
        statuses=_OFF,
    ),
    Route(
        "GET",
        "/debug/pprof/profile",
        profile,
        "Where the main thread spends its time",
        params=(Param("seconds", "For how long, 1 to 300; 30 if not given", "integer"),),
        media=(TEXT,),
        statuses=(*_OFF, (429, "A profile is being taken already")),
    ),
    Route(
        "GET",
        "/debug/pprof/goroutine",
        threads,
        "Where each thread is now",
        media=(TEXT,),
        statuses=_OFF,
    ),
    Route(
        "GET",
        "/debug/pprof/trace",
        unknown,
        "Not in Python",
        statuses=((404, "Always"),),
    ),
    Route(
        "GET",
        "/debug/pprof/symbol",
        unknown,
        "Not in Python",
        statuses=((404, "Always"),),
    ),
)
