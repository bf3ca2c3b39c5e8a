"""/v1/snapshot: take all data away in one file, and put the data of such a file in place."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import IO, Any

import msgspec

from mesh.errors import Busy, DiskFull, Invalid, MeshError, explained
from mesh.http import params, respond
from mesh.http.request import UPLOADS_MAX, Reply, Request
from mesh.http.route import Param, Route
from mesh.http.shapes import Shape
from mesh.raft.packer import unhurried
from mesh.registry import restores, snapshots
from mesh.registry.outcomes import Find
from mesh.registry.port import OrderOptions, ReadOptions, Registry, WriteOptions
from mesh.registry.requests import TABLES
from mesh.store.archive import PORTION_BYTES, Archive, Meta, read_meta
from mesh.store.export import Reading

log = logging.getLogger(__name__)

GZIP = "application/x-gzip"
GIVE_UP_SECONDS = 5.0


async def save(request: Request) -> Reply:
    """A snapshot as a stream."""
    registry, options = request.parts.registry, params.order_options(request)
    stale = options.where == "here"
    opened = await registry.operate(snapshots.Open(stale), options)
    here = msgspec.structs.replace(options, where="here")
    portions = _portions(registry, opened, here)
    first = await anext(portions)  # What goes wrong until now gets a status.
    headers = {
        "X-Consul-Index": str(opened.index),
        "X-Consul-KnownLeader": "true" if opened.known_leader else "false",
        "X-Consul-LastContact": str(respond.milliseconds(opened.last_contact)),
    }
    return Reply(content_type=GZIP, headers=headers, stream=_after(first, portions), ends=True)


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for portion in rest:
        yield portion


async def _portions(
    registry: Registry, opened: snapshots.Opened, options: OrderOptions
) -> AsyncIterator[bytes]:
    offset, ended = 0, False
    try:
        while not ended:
            order = snapshots.Read(opened.id, opened.server, offset)
            portion = await registry.operate(order, options)
            offset, ended = offset + len(portion.data), portion.end
            if portion.data:
                yield portion.data
    finally:
        with suppress(MeshError, TimeoutError):
            async with asyncio.timeout(GIVE_UP_SECONDS):
                await registry.operate(snapshots.Close(opened.id, opened.server), options)


async def restore(request: Request) -> Reply:
    """Put the snapshot in the body in place of all data."""
    if "stale" in request.params:
        raise Invalid("stale not allowed for restore")
    if await _done_before(request):
        return respond.nothing()
    uploads = request.parts.uploads
    if uploads.locked():
        raise Busy(f"{UPLOADS_MAX} snapshots are being restored through this agent already")
    async with uploads:
        with tempfile.TemporaryFile(dir=request.options.spool_folder or None) as file:
            await _spool(request, file)
            meta = await asyncio.to_thread(_verify, file)
            await _put_in_place(request, file, meta)
    return respond.nothing()


async def _done_before(request: Request) -> bool:
    """Whether the caller sends again, under the same key, what was done."""
    if not request.headers.get("idempotency-key", ""):
        return False
    asked = params.write_options(request)
    options = ReadOptions(datacenter=asked.datacenter, token=asked.token)
    found = await request.parts.registry.read(Find(asked.request, asked.since), options)
    return found.value.status == "applied"


async def _spool(request: Request, file: IO[bytes]) -> None:
    try:
        assert request.stream is not None, "the route streams"
        async for piece in request.stream:
            await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(file.flush)
    except OSError as error:
        raise DiskFull(f"the snapshot could not be kept: {explained(error)}") from error


def _archive(file: IO[bytes]) -> Archive:
    file.seek(0)
    return Archive(iter(lambda: file.read(PORTION_BYTES), b""))


def _verify(file: IO[bytes]) -> Meta:
    """Read the whole file as servers will. Blocks. Raises Invalid."""
    reading = Reading(TABLES, lambda *_: None)
    try:
        archive = _archive(file)
        meta = read_meta(archive)
        for portion in unhurried(archive.state()):
            reading.feed(portion)
        digest = reading.finish().hex()
    except Invalid as error:
        raise Invalid(f"the snapshot {error.message}") from error
    if digest != meta.digest:
        raise Invalid("the snapshot has another digest than meta.json says")
    return meta


class _Sending:
    """Commands of one restore, each under a request id of its own."""

    def __init__(self, request: Request) -> None:
        self._registry, self._dice = request.parts.registry, request.parts.dice
        self.last: WriteOptions = params.write_options(request)
        self.id = self._dice.uuid()

    async def write(self, command: Any) -> Any:
        """Send one of those before the last one."""
        options = msgspec.structs.replace(
            self.last, request=self._dice.uuid(), attempt=0, since=None
        )
        return await self._registry.write(command, options)

    async def finish(self, command: restores.Finish) -> None:
        """Send the last one, under the key that the caller gave."""
        await self._registry.write(command, self.last)

    async def give_up(self) -> None:
        """Have the servers forget it."""
        with suppress(MeshError, TimeoutError):
            async with asyncio.timeout(GIVE_UP_SECONDS):
                while await self.write(restores.Abandon(self.id)):
                    pass


async def _put_in_place(request: Request, file: IO[bytes], meta: Meta) -> None:
    sending, done = _Sending(request), False
    try:
        try:
            await sending.write(restores.Begin(sending.id, meta.id, meta.size, meta.level))
            chunks, digest = _chunks(_archive(file).state()), sha256()
            number = 0
            while chunk := await asyncio.to_thread(next, chunks, b""):
                digest.update(chunk)
                await sending.write(restores.Add(sending.id, number, chunk))
                number += 1
            await sending.finish(restores.Finish(sending.id, digest.hexdigest()))
            done = True
        finally:
            if not done:
                await sending.give_up()
    except MeshError as error:
        log.warning("a restore was given up: %s", error)
        raise
    log.info("snapshot %s was restored", meta.id)


def _chunks(portions: Iterator[bytes]) -> Iterator[bytes]:
    gathered = bytearray()
    for portion in portions:
        gathered += portion
        while len(gathered) >= restores.CHUNK_BYTES_MAX:
            yield bytes(gathered[: restores.CHUNK_BYTES_MAX])
            del gathered[: restores.CHUNK_BYTES_MAX]
    if gathered:
        yield bytes(gathered)


class KeptShape(Shape, frozen=True, kw_only=True):
    """A snapshot in a server's directory; `Verified` says when it was restored and compared."""

    name: str
    time: str
    size: int
    index: int
    digest: str
    verified: str


class ScheduleShape(Shape, frozen=True, kw_only=True):
    """What a server does about snapshots by itself; `Error` says why it could not be asked."""

    server: str
    leader: bool
    directory: str
    interval_seconds: float
    retain: int
    last_time: str
    problem: str
    kept: list[KeptShape]
    error: str


async def schedules(request: Request) -> Reply:
    """What every server does about snapshots by itself."""
    options = params.order_options(request)
    found = await request.parts.registry.operate(snapshots.Schedules(), options)
    return respond.json(
        [
            ScheduleShape(
                server=one.server,
                leader=one.leads,
                directory=one.directory,
                interval_seconds=one.interval,
                retain=one.retain,
                last_time=one.last_time,
                problem=one.problem,
                kept=[KeptShape(**msgspec.structs.asdict(each)) for each in one.kept],
                error=one.error,
            )
            for one in found
        ]
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/snapshot",
        save,
        "A snapshot of all data",
        params=(Param("stale", "Any server may take it, without a leader too", "boolean"),),
        answer=bytes,
        media=(GZIP,),
        statuses=((429, "Too many snapshots are being read from the server"),),
    ),
    Route(
        "PUT",
        "/v1/snapshot",
        restore,
        "Put a snapshot in place of all data",
        limit="snapshot_max_bytes",
        streams=True,
        params=(Param("stale", "Refused: only a leader can restore", "present"),),
        body=bytes,
        statuses=(
            (400, "The body is no snapshot of mesh, or damaged; nothing has changed"),
            (413, "The body is larger than a snapshot may be"),
            (429, "Too many snapshots are being restored through the agent"),
            (500, "It could not be restored; unless it says so, nothing has changed"),
            (507, "The disk of the agent, or of the servers, is full; nothing has changed"),
        ),
    ),
    Route(
        "GET",
        "/v1/operator/snapshots",
        schedules,
        "Snapshots that servers took by themselves",
        params=(Param("stale", "Any server may ask the others", "boolean"),),
        answer=list[ScheduleShape],
    ),
)
