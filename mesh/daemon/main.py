"""meshd: the command line, signals, and how the process ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesh import __version__
from mesh.codec import to_json
from mesh.collector import settle
from mesh.config.flags import help_text, parse
from mesh.config.load import validate
from mesh.config.schema import Config
from mesh.errors import MeshError, explained
from mesh.tasks import Tasks
from mesh.telemetry.logs import LiveLines, set_up

if TYPE_CHECKING:
    from mesh.daemon.node import Node

log = logging.getLogger(__name__)

LEAVE_SECONDS = 15.0
ENDED = 0
HELP = {"-h", "-help", "--help", "help"}
USAGE = """Usage: meshd <command> [flags]

Commands:
  server     run a server: it keeps the replicated state of the datacenter
  agent      run a client agent (with -server, or "server": true in its files, a server)
  validate   check configuration files and directories
  version    print the version

  meshd agent -dev                  one server for development, nothing kept
  meshd server -data-dir /var/lib/mesh -bootstrap-expect 3 -retry-join 10.0.0.1
  meshd agent -help                 all flags
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run meshd; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command, rest = (given[0], given[1:]) if given else ("", [])
    if command in HELP:
        sys.stdout.write(USAGE)
        return 0
    if command in {"version", "-version", "--version", "-v"}:
        return _version(rest)
    if command == "validate":
        return _validate(rest)
    if command not in {"server", "agent"}:
        sys.stderr.write(f'meshd: unknown command "{command}"\n\n{USAGE}')
        return 2
    if HELP & set(rest):
        sys.stdout.write(help_text(f"meshd {command}", command == "server") + "\n")
        return 0
    return _run(rest, server=command == "server")


def _version(arguments: Sequence[str]) -> int:
    if any(argument.endswith("json") for argument in arguments):
        plain = {"Version": __version__, "Revision": "", "Prerelease": "", "BuildDate": ""}
        sys.stdout.write(to_json(plain, indent=2).decode() + "\n")
    else:
        sys.stdout.write(f"mesh {__version__}\n")
    return 0


def _validate(arguments: Sequence[str]) -> int:
    quiet = {"-quiet", "--quiet"} & set(arguments)
    paths = [one for one in arguments if not one.startswith("-")]
    if HELP & set(arguments) or not paths:
        sys.stderr.write("Usage: meshd validate [-quiet] FILE_OR_DIRECTORY...\n")
        return 0 if HELP & set(arguments) else 2
    try:
        config = validate(paths)
    except MeshError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for warning in config.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    if not quiet:
        sys.stdout.write("Configuration is valid!\n")
    return 0


def _run(arguments: Sequence[str], *, server: bool) -> int:
    try:
        config = parse(arguments, server=server)
    except MeshError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    stream = sys.stderr
    try:
        if config.log_file:
            stream = Path(config.log_file).open("a", encoding="utf-8")  # noqa: SIM115 - open for life.
    except OSError as error:
        sys.stderr.write(f"meshd: {error.filename}: {error.strerror}\n")
        return 1
    if unsafe := _unprotected(config):
        sys.stderr.write("".join(f"meshd: {line}\n" for line in unsafe))
        return 1
    live = set_up(config.log_level, as_json=config.log_json, stream=stream)
    for warning in config.warnings:
        log.warning("%s", warning)
    if config.not_yet:
        log.warning("these options have no effect yet: %s", ", ".join(config.not_yet))
    try:
        return asyncio.run(_Process(config, arguments, server, live).run())
    except MeshError as error:
        sys.stderr.write(f"meshd: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"meshd: {explained(error)}\n")
        return 1


def _unprotected(config: Config) -> list[str]:
    """Protections the configuration asks for and this version cannot give: it must not start."""
    asked = {
        "acl.enabled": config.acl.enabled,
        "tls.https.verify_incoming": config.tls.https.verify_incoming,
    }
    return [
        f"{key}: not available yet; starting without it would leave the cluster open, so mesh "
        "does not. Remove it to run on a network you trust"
        for key, wanted in asked.items()
        if wanted
    ]


class _Process:
    """The running node, and the signals that end or reload it."""

    def __init__(
        self, config: Config, arguments: Sequence[str], server: bool, live: LiveLines
    ) -> None:
        self._config, self._arguments, self._server = config, arguments, server
        self._live = live
        self._ended: asyncio.Future[BaseException | None]
        self._wanted: asyncio.Queue[int]
        self._tasks = Tasks()

    def _reread(self) -> Config:
        return parse(self._arguments, server=self._server)

    def _finish(self, error: BaseException | None) -> None:
        if not self._ended.done():
            self._ended.set_result(error)

    async def run(self) -> int:
        # Read late: building it takes the imports of every part.
        from mesh.daemon.node import Node as Built  # noqa: PLC0415

        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._wanted = asyncio.Queue()
        node = Built(self._config, self._reread, self._live, self._finish)
        await node.start()
        settle()
        self._ended.add_done_callback(lambda _: self._wanted.put_nowait(ENDED))
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(one, self._wanted.put_nowait, int(one))
        pid_file = Path(self._config.pid_file) if self._config.pid_file else None
        try:
            if pid_file is not None:
                pid_file.write_text(f"{os.getpid()}\n")
            code = await self._until_end(node)
        finally:
            code_of_stop = await self._unless_signalled(node.stop(), "stopping")
        if pid_file is not None:
            pid_file.unlink(missing_ok=True)
        error = self._ended.result() if self._ended.done() else None
        if error is not None:
            sys.stderr.write(f"meshd: {explained(error)}\n")
            return 1
        return code or code_of_stop

    async def _until_end(self, node: Node) -> int:
        """Obey signals until one, or the node itself, ends it; returns the exit code."""
        while not self._ended.done():
            number = await self._wanted.get()
            if number == signal.SIGHUP:
                await self._reload(node)
            elif number != ENDED:
                return await self._end(node, number)
        return 0

    async def _reload(self, node: Node) -> None:
        try:
            await node.reload()
        except MeshError as error:
            log.error("reload: nothing was changed: %s", error)  # noqa: TRY400 - no traceback for people.

    async def _end(self, node: Node, number: int) -> int:
        config = self._config
        leaves = config.leave_on_terminate
        if leaves is None:
            leaves = not config.server
        if number == signal.SIGINT:
            skip = config.skip_leave_on_interrupt
            leaves = not (config.server if skip is None else skip)
        if config.dev:
            leaves = False
        log.info("got %s: %s", signal.Signals(number).name, "leaving" if leaves else "stopping")
        if not leaves:
            return 0
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                return await self._unless_signalled(node.depart(), "leaving")
        except TimeoutError:
            log.error("could not leave within %.0f s", LEAVE_SECONDS)  # noqa: TRY400
        except MeshError as error:
            log.error("could not leave: %s", error)  # noqa: TRY400
        return 1

    async def _unless_signalled(self, work: Coroutine[Any, Any, None], what: str) -> int:
        """Do the work; another signal to end gives it up, and the exit code is 1 then."""
        task = self._tasks.start(work, name=what)
        task.add_done_callback(lambda _: self._wanted.put_nowait(ENDED))
        try:
            while not task.done():
                number = await self._wanted.get()
                if number in {signal.SIGTERM, signal.SIGINT}:
                    log.warning("got %s while %s: giving up", signal.Signals(number).name, what)
                    return 1
        finally:
            task.cancel()
        task.result()
        return 0


if __name__ == "__main__":
    sys.exit(main())
