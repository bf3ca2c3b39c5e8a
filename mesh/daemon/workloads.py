"""Workloads: a socket of the SPIFFE Workload API for each service here that speaks for itself.

There is one socket a service, `<folder>/<service>/workload.sock`, and who may open it is that
service. So the system decides who gets which certificate, `ls -l` shows it, and a container is
given one by mounting one folder; what a socket says of a peer in another user namespace is worth
nothing. The folder stays the agent's, since whoever owned it could put links there for us to chown.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import pwd
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mesh.agent.local import Agent
from mesh.connect.leaves import Leaves
from mesh.daemon.ground import Ground
from mesh.errors import Conflict, Invalid, MeshError, explained
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

SOCKET, STAGING = "workload.sock", ".new"
HEALTH, NAME = "mesh-workload", "Workload API"
PATH_MAX_BYTES = 107
"""Of a unix socket's address."""
RETRY_SECONDS = 10.0
"""After a socket could not be made: its user may be made later."""
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


class _Opened(NamedTuple):
    server: Any
    path: Path


class Workloads:
    """Keeps the sockets in line with the services that are registered here."""

    def __init__(self, folder: Path, users: dict[str, str], agent: Agent, leaves: Leaves) -> None:
        self._folder, self._users = folder, users
        self._agent, self._leaves = agent, leaves
        self._opened: dict[str, _Opened] = {}
        self._changed, self._tasks = asyncio.Event(), Tasks()
        self._made = 0
        self._end_listening: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Begin with the services that are registered. Raises Conflict for an unsafe folder."""
        await asyncio.to_thread(_prepare, self._folder)
        self._end_listening = self._agent.listen(self._changed.set)
        self._tasks.start(self._run(), name="workload sockets")

    async def stop(self) -> None:
        """Close all sockets."""
        self._end_listening()
        self._end_listening = lambda: None
        await self._tasks.stop()
        for service in list(self._opened):
            await self._close(service, gone=False)

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            failed = await self._settle()
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS if failed else None):
                    await self._changed.wait()

    async def _settle(self) -> bool:
        """Open and close what is due; whether something could not be opened."""
        wanted, failed = self._wanted(), False
        for service in [name for name in self._opened if name not in wanted]:
            await self._close(service, gone=True)
        for service in sorted(wanted - self._opened.keys()):
            try:
                self._opened[service] = await self._open(service)
                self._show(service, "")
            except (MeshError, OSError) as error:
                failed = True
                self._show(service, f"no socket for {service}: {explained(error)}")
        return failed

    def _wanted(self) -> set[str]:
        rows = [local.row for local in self._agent.services().values()]
        return {
            row.name for row in rows if not row.kind and (row.native or row.name in self._users)
        }

    async def _open(self, service: str) -> _Opened:
        if not _PLAIN.fullmatch(service):
            raise Invalid("its name is none for a folder; use letters, digits, _, . and -")
        path = self._folder / service / SOCKET
        if len(os.fsencode(path)) > PATH_MAX_BYTES:
            raise Invalid(f"{path} is longer than {PATH_MAX_BYTES} bytes")
        owner = _uid(self._users.get(service, ""))
        # grpc is loaded for who needs it: it takes much memory.
        module = await asyncio.to_thread(importlib.import_module, "mesh.connect.workload")
        self._made += 1
        staged = self._folder / STAGING / f"{os.getpid()}-{self._made}"
        server = module.WorkloadServer(self._leaves, service)
        await server.start(str(staged))
        try:
            await asyncio.to_thread(_place, staged, path, owner)
        except OSError:
            await server.stop()
            raise
        log.info("service %s has the Workload API at %s", service, path)
        return _Opened(server, path)

    async def _close(self, service: str, *, gone: bool) -> None:
        server, path = self._opened.pop(service)
        await asyncio.to_thread(_remove, path)
        await server.stop(gone=gone)
        rows = [local.row for local in self._agent.services().values()]
        if gone and all(service not in {row.name, row.destination} for row in rows):
            self._leaves.drop(service)

    def _show(self, service: str, trouble: str) -> None:
        """A service without its socket has no certificate: its instances say so."""
        for local in list(self._agent.services().values()):
            row, check_id = local.row, f"{HEALTH}:{local.row.id}"
            if row.name != service:
                continue
            if trouble:
                self._agent.tell(check_id, NAME, "warning", trouble, service_id=row.id)
            elif check_id in self._agent.checks():
                self._agent.deregister_check(check_id)


def _prepare(folder: Path) -> None:
    """A folder that everybody may pass and only we change, with one below for us alone."""
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(0o755)
    found = folder.lstat()
    safe = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o022
    if not safe or found.st_uid not in {0, os.geteuid()}:
        raise Conflict(f"{folder}: others may write there; it has to be a folder of ours alone")
    staging = folder / STAGING
    staging.mkdir(mode=0o700, exist_ok=True)
    staging.chmod(0o700)
    for left in staging.iterdir():
        left.unlink()


def _place(staged: Path, path: Path, owner: int) -> None:
    """Put a socket where others find it, once nobody but its owner may open it."""
    staged.chmod(0o600)
    if owner != os.geteuid():
        os.chown(staged, owner, -1)
    path.parent.mkdir(exist_ok=True)
    path.parent.chmod(0o755)
    staged.rename(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
        path.parent.rmdir()


def _uid(user: str) -> int:
    """The number of a user; empty: ours. Raises Invalid for one that is not there."""
    if not user:
        return os.geteuid()
    if user.isdecimal():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise Invalid(f'there is no user "{user}" [connect.workload_users]') from None


async def start(
    ground: Ground, agent: Agent, leaves: Leaves, stops: list[Callable[[], object]]
) -> None:
    """Make the sockets, where they are asked for, until the rest is stopped."""
    knobs = ground.config.connect
    if not knobs.enabled or not knobs.workload_folder:
        return
    folder, users = Path(knobs.workload_folder), knobs.workload_users
    workloads = Workloads(folder, users, agent, leaves)
    stops.append(workloads.stop)
    await workloads.start()
