"""Reads that threads of their own repeat for ever, beside whatever a program does."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from mesh.client.call import Answer, Call
from mesh.client.settings import Settings
from mesh.client.sync import Client
from mesh.client.watching import pause_after
from mesh.errors import MeshError

log = logging.getLogger("mesh.client")

NO_INDEX_SECONDS = 1.0
"""Between two reads of an agent that does not say what to wait for."""
STOP_SECONDS = 0.2


class Following:
    """Daemon threads, each of which repeats a blocking read and tells what comes.

    An agent that goes away is waited for with growing pauses; then the read begins anew. Threads do
    not survive a fork: `revive` starts them again in the child.
    """

    def __init__(self, configured: Settings) -> None:
        self._settings = configured
        self._reads: list[tuple[str, Call[Answer[Any]], Callable[[Any], None]]] = []
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._changing = threading.Lock()
        self._stopped = threading.Event()
        self._running: list[tuple[threading.Thread, Client]] = []

    def follow(self, name: str, call: Call[Answer[Any]], heard: Callable[[Any], None]) -> None:
        """Repeat the read, and call `heard` in its thread with the value of every answer.

        What it raises as MeshError counts as a failure of the agent. Does nothing once stopped.
        """
        with self._changing:
            if not self._stopped.is_set():
                self._reads.append((name, call, heard))
                self._start(name, call, heard)

    def _start(self, name: str, call: Call[Answer[Any]], heard: Callable[[Any], None]) -> None:
        client = Client(self._settings)
        arguments = (name, call, heard, client, self._stopped)
        thread = threading.Thread(target=_repeat, args=arguments, name=f"mesh {name}", daemon=True)
        self._running.append((thread, client))
        thread.start()

    def revive(self) -> None:
        """Start the threads again, if this is a child of the process that had them."""
        if self._process == os.getpid():
            return
        stopped = self._stopped.is_set()
        self._begin()
        if stopped:
            self._stopped.set()
            return
        for name, call, heard in self._reads:
            self._start(name, call, heard)

    def stop(self) -> None:
        """Have the threads end, without waiting for them."""
        self._stopped.set()
        if self._process == os.getpid():
            for _, client in self._running:
                client.interrupt()

    def close(self) -> None:
        """End the threads."""
        while running := [thread for thread, _ in self._running if thread.is_alive()]:
            self.stop()  # Again: one that was just about to ask was not interrupted.
            running[0].join(STOP_SECONDS)


def _repeat(
    name: str,
    call: Call[Answer[Any]],
    heard: Callable[[Any], None],
    client: Client,
    stopped: threading.Event,
) -> None:
    index = failures = 0
    with client:
        while not stopped.is_set():
            try:
                answer = client.run(call.newer_than(index) if index else call)
                heard(answer.value)
            except MeshError as error:
                failures, index = failures + 1, 0
                if failures == 1 and not stopped.is_set():
                    log.warning("%s: the agent does not answer: %s", name, error.message)
                stopped.wait(pause_after(failures))
                continue
            if failures:
                log.info("%s: the agent answers again", name)
            failures = 0
            # An index that goes back means that data was restored: begin anew.
            index = answer.index if answer.index >= index else 0
            if not answer.index:
                stopped.wait(NO_INDEX_SECONDS)


def patient(configured: Settings, seconds: float) -> Settings:
    """The same settings for requests that must be answered soon."""
    return msgspec.structs.replace(
        configured, timeout_seconds=min(seconds, configured.timeout_seconds)
    )
