"""Reloading: which options a reload changes, and when files ask for one [auto_reload_config]."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mesh.agent.differences import Change, words
from mesh.clock import Clock
from mesh.config.certificates import FILES
from mesh.config.describe import changes, to_plain
from mesh.config.parse import SUFFIXES
from mesh.config.schema import Config
from mesh.config.shape import value_at
from mesh.errors import MeshError

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
DEFINITIONS = {"services", "checks"}
"""What the agent tells about itself, one by one."""
Seen = dict[str, tuple[int, int, int]]


def option_changes(old: Config, new: Config) -> list[Change]:
    """What is different in the options; services and checks are not among them."""
    applied, restart = changes(old, new)
    before, after = to_plain(old), to_plain(new)
    return [
        Change(
            "option",
            key,
            "changed",
            old=words(_at(before, key)),
            new=words(_at(after, key)),
            restart=key in restart,
        )
        for key in applied + restart
        if key not in DEFINITIONS
    ]


def _at(plain: dict[str, Any], key: str) -> Any:
    found: Any = plain
    for name in key.split("."):
        found = found[name]
    return found


class FileWatch:
    """Looks at the files of the configuration, and at certificates, and reloads when they changed.

    It waits until they stay the same from one look to the next: a file may be half written.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        reload: Callable[[], Awaitable[object]],
        clock: Clock,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._config, self._reload = config, reload
        self._clock, self._seconds = clock, look_seconds

    async def run(self) -> None:
        """Look again and again; never ends."""
        loaded = before = fingerprint(self._config())
        while True:
            await self._clock.sleep(self._seconds)
            now = fingerprint(self._config())
            if now == before != loaded:
                log.info("files of the configuration have changed: reloading")
                try:
                    await self._reload()
                except MeshError as error:
                    log.error("reload: nothing was changed: %s", error)  # noqa: TRY400 - no traceback for people.
                # Other files may be asked about from now on; these were read.
                now = fingerprint(self._config())
                loaded = now
            before = now


def fingerprint(config: Config) -> Seen:
    """What tells whether a file was written: time, size and number of each.

    Of files beside them, which are read when their folder was given, only that they are there.
    """
    found: Seen = {}
    for path in sorted(set(_paths(config))):
        try:
            status = os.stat(path)
        except OSError:
            continue
        found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    for folder in {Path(file).parent for file in config.files}:
        with suppress(OSError):
            for one in folder.iterdir():
                if one.suffix in SUFFIXES:
                    found.setdefault(str(one), (0, 0, 0))
    return found


def _paths(config: Config) -> Iterator[str]:
    yield from config.files
    for section in ("tls.defaults", "tls.internal_rpc"):
        yield from filter(None, (value_at(config, f"{section}.{name}") for name in FILES))
