"""A spool: a snapshot being written to a file in a thread, and read while it is written."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from hashlib import sha256
from typing import BinaryIO

from msgspec.structs import replace

from mesh.errors import DiskFull, Internal, MeshError
from mesh.raft.packer import unhurried
from mesh.store.archive import PORTION_BYTES, Meta, Table, compressed
from mesh.store.export import Export

log = logging.getLogger(__name__)


class Abandoned(Exception):
    """Nobody wants the snapshot any more."""


def written(
    export: Export, meta: Meta, folder: str, go_on: Callable[[], bool]
) -> Iterator[tuple[Meta, bytes]]:
    """Pack an export into an archive; its bytes, and what it says of itself. Blocks on the disk.

    The state goes through a nameless file in the folder, for its size stands in front of it.
    """
    with tempfile.TemporaryFile(dir=folder) as state:
        digest, size = sha256(), 0
        for data in unhurried(export):
            if not go_on():
                raise Abandoned
            digest.update(data)
            size += len(data)
            state.write(data)
        tables = {name: Table(one.rows, one.bytes) for name, one in export.tally.items()}
        meta = replace(meta, size=size, digest=export.digest.hex(), tables=tables)
        state.seek(0)
        for data in unhurried(compressed(meta, _portions(state), digest.hexdigest())):
            if not go_on():
                raise Abandoned
            yield meta, data


def _portions(file: BinaryIO) -> Iterator[bytes]:
    while portion := file.read(PORTION_BYTES):
        yield portion


class Spool:
    """One snapshot in a nameless file, which is gone when it is closed or the process ends."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`.
        self._size, self._whole, self._closed = 0, False, False
        self._problem: MeshError | None = None
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def write(self, export: Export, meta: Meta, executor: Executor) -> None:
        """Begin to write it, in a thread."""
        self._work = executor.submit(self._write, export, meta)
        self._work.add_done_callback(lambda _: None if self._work.cancelled() else self._tell())

    def _write(self, export: Export, meta: Meta) -> None:
        try:
            for _, data in written(export, meta, self._folder, lambda: not self._closed):
                self._file.write(data)
                self._file.flush()
                self._size += len(data)
                self._tell()
            self._whole = True
        except Abandoned:
            log.debug("a snapshot was not wanted any more")
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            kind = DiskFull if full else Internal
            self._problem = kind(f"the snapshot could not be written: {error.strerror or error}")
        except Exception as error:
            log.exception("a snapshot could not be made")
            self._problem = Internal(f"the snapshot could not be made: {error!r}")

    def _tell(self) -> None:
        if not self._closed:
            self._loop.call_soon_threadsafe(self._news.set)

    async def read(self, offset: int, count: int, seconds: float) -> tuple[bytes, bool]:
        """Bytes at the offset, and whether they are the last; none when time is out first.

        Raises why it could not be written.
        """
        try:
            async with asyncio.timeout(seconds):
                while not (self._whole or self._problem or self._size > offset):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return b"", False
        if self._problem is not None:
            raise self._problem
        size, whole = self._size, self._whole
        count = max(0, min(count, size - offset))
        data = await asyncio.to_thread(os.pread, self._file.fileno(), count, offset)
        return data, whole and offset + len(data) >= self._size

    def close(self) -> None:
        """Give it up; its file goes once the thread is done with it."""
        self._closed = True
        self._work.add_done_callback(lambda _: self._file.close())
