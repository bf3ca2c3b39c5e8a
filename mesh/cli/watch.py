"""meshctl watch: be told when something changes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from mesh.agent.watches import TYPES, News, ScriptHandler, Watch, read_watch
from mesh.cli.command import OK, Command, Example
from mesh.cli.flags import DATACENTER, STALE, Argument, Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.cli.progress import Progress
from mesh.client.call import DEFAULT_WAIT_SECONDS, Call, Response
from mesh.errors import Invalid, MeshError

KEYS = ("key", "prefix", "service", "state", "name", "filter")
"""Flags that are keys of a watch, under the same name."""
RETRY_SECONDS = 5.0


def watch(invocation: Invocation) -> int:
    """Print the first news, or give all news to a handler until Ctrl-C."""
    watched = _watch(invocation)
    news = News(watched)
    with Progress(invocation.out, "Waiting for news", waits=True) as progress:
        if watched.handler is None:
            while (told := _next(invocation, watched, news)) is None:
                pass
            with progress.aside():
                invocation.out.raw(told + b"\n")
            return OK
        try:
            while True:
                _follow(invocation, watched, news, progress)
        except KeyboardInterrupt:
            return OK


def _watch(invocation: Invocation) -> Watch:
    parsed = invocation.parsed
    given: dict[str, Any] = {name: parsed.text(name) for name in KEYS if parsed.text(name)}
    given["type"] = parsed.text("type")
    given["datacenter"] = parsed.text("datacenter")
    if parsed.many("tag"):
        given["tag"] = parsed.many("tag")
    if parsed.switch("passingonly"):
        given["passingonly"] = True
    given["stale"] = parsed.switch("stale")
    if parsed.arguments:
        shell = parsed.text("shell") != "false"
        command = " ".join(parsed.arguments)
        given["args"] = ["/bin/sh", "-c", command] if shell else parsed.arguments
    try:
        return read_watch(given)
    except Invalid as error:
        name, _, complaint = error.message.partition(": ")
        raise Usage(f"--{name}: {complaint}") from error


def _next(invocation: Invocation, watched: Watch, news: News) -> bytes | None:
    index = (("index", str(news.index)),) if news.index else ()
    call = Call(
        method="GET",
        path=watched.path,
        decode=lambda response: response,
        params=(*watched.params, *index),
        accepts=(200, 404),
        wait_seconds=DEFAULT_WAIT_SECONDS * 17 / 16 if index else 0.0,
    )
    response: Response = invocation.client.run(call)
    return news.take(response.status, _index(response.headers), response.body)


def _index(headers: Mapping[str, str]) -> int:
    text = headers.get("x-consul-index", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _follow(invocation: Invocation, watched: Watch, news: News, progress: Progress) -> None:
    try:
        told = _next(invocation, watched, news)
    except MeshError as error:
        if not error.retry:
            raise
        with progress.aside():
            invocation.out.note(f"{error.message} Next try in {RETRY_SECONDS:.0f} s.")
        news.index = 0
        time.sleep(RETRY_SECONDS)
        return
    if told is not None:
        with progress.aside():
            _handle(invocation, watched, news, told)


def _handle(invocation: Invocation, watched: Watch, news: News, told: bytes) -> None:
    assert isinstance(watched.handler, ScriptHandler), "a command line names no URL"
    environment = {**os.environ, **invocation.environment, "CONSUL_INDEX": str(news.index)}
    try:
        # The user names it, as in a shell.
        args = watched.handler.args
        done = subprocess.run(args, input=told, env=environment, check=False)  # noqa: S603
    except OSError as error:
        raise Invalid(f"{watched.handler.args[0]}: {error.strerror}") from error
    if done.returncode:
        invocation.out.note(f"The handler ended with code {done.returncode}.")


COMMANDS = {
    "watch": Command(
        watch,
        about="Be told when something changes. Without a handler the present state, or the next\n"
        "event, is printed as JSON. A handler gets each change as JSON on its standard input and\n"
        "the index in CONSUL_INDEX, until Ctrl-C. Words after the handler's name are its own.",
        examples=(
            Example("watch --type event --name deploy ./deploy.sh", "Run a script at each event"),
            Example("watch --type key --key config/web", "The value of a key, as JSON"),
            Example("watch --type service --service web --passingonly ./reload.sh", "Instances"),
        ),
        arguments=(Argument("HANDLER", required=False, many=True),),
        flags=(
            Flag("type", "what to watch", value="TYPE", choices=tuple(TYPES)),
            Flag("key", "the key, for type key"),
            Flag("prefix", "what keys begin with, for type keyprefix"),
            Flag("service", "the service, for types service, checks and connect_leaf"),
            Flag("tag", "only instances with this tag, for type service", "list"),
            Flag("passingonly", "only instances that pass, for type service", "switch"),
            Flag("state", "only checks with this status, for type checks"),
            Flag("name", "only events of this name, for type event"),
            Flag("filter", "only what this expression matches, for lists", value="EXPRESSION"),
            Flag("shell", "run the handler through the shell; on unless =false", "switch"),
            DATACENTER,
            STALE,
        ),
        passes_on=True,
    ),
}
