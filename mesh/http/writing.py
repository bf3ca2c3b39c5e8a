"""Writes that need no task: begun where the request is read, answered when they are told of."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from mesh.errors import MeshError
from mesh.http import params, respond
from mesh.http.dispatch import Admitted
from mesh.http.owner import Asker
from mesh.http.request import Reply
from mesh.registry.port import Registry
from mesh.telemetry.timers import Timers

log = logging.getLogger(__name__)


class Server(Protocol):
    """What a write needs of the server."""

    timers: Timers

    def failed(self) -> Reply:
        """Count an error of our own, which was logged."""


def begin(server: Server, registry: Registry, admitted: Admitted, asker: Asker) -> bool:
    """Begin a write that needs no task, and tell the asker later; False for all other work."""
    asked, writes = admitted.request, admitted.route.writes
    if writes is None or (command := writes(asked)) is None:
        return False
    try:
        options = params.write_options(asked)
    except MeshError:
        return False  # As the handler will say.
    return registry.begin(command, options, _Writing(server, admitted, asker))


class _Writing:
    """A write that began without a task: how long it takes, and who is told of it."""

    __slots__ = ("_admitted", "_asker", "_began", "_server")

    def __init__(self, server: Server, admitted: Admitted, asker: Asker) -> None:
        self._server, self._admitted, self._asker = server, admitted, asker
        self._began = server.timers.now()

    def written(self, result: bool) -> None:
        self._server.timers.ended(self._admitted.route.label, self._began)
        self._asker.written(result)

    def unsettled(self, rest: Coroutine[Any, Any, Any]) -> None:
        self._asker.unanswered(self._go_on(rest))

    async def _go_on(self, rest: Coroutine[Any, Any, bool]) -> Reply:
        asked = self._admitted.request
        try:
            return respond.boolean(await rest)
        except MeshError as error:
            return respond.failure(error, params.datacenter(asked))
        except Exception:
            log.exception("%s %s failed", asked.method, asked.path)
            return self._server.failed()
        finally:
            self._server.timers.ended(self._admitted.route.label, self._began)
