"""Clients that record what they asked and heard. Every node has some."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from tests.linearizability.history import ACQUIRE, CAS, READ, RELEASE, WRITE, Operation, Outcome

ANSWER_SECONDS = 25.0
"""Longer than any node holds a request for want of a leader, and than any pause of a server."""
MODES = ("default", "consistent")
ONCE = "once/"


class NotSent(Exception):
    """No connection: the request cannot have been done."""


class Broken(Exception):
    """The connection ended, or no answer came in time: the request may have been done."""


class Answer(msgspec.Struct, frozen=True):
    """Status and body of an HTTP answer."""

    status: int
    body: bytes


class Http:
    """One kept connection. It never sends a request a second time, as common clients do for PUT."""

    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Ask once. Raises NotSent or Broken."""
        if self._streams is None:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    self._streams = await asyncio.open_connection(self._address, self._port)
            except (OSError, TimeoutError) as error:
                raise NotSent(str(error)) from error
        reader, writer = self._streams
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._address}\r\n"
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                return await self._answer(reader)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.close()
            raise Broken(repr(error)) from error
        except asyncio.CancelledError:
            self.close()
            raise

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        lines = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
        body = await reader.readexactly(int(lines["content-length"]))
        if lines.get("connection") == "close":
            self.close()
        return Answer(int(head.split()[1]), body)

    def close(self) -> None:
        """Drop the connection."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def written(answer: Answer) -> Outcome:
    """What the API promises about a write that was answered so.

    `No cluster leader` and 429 say that nothing was done. Other errors of the servers leave it
    open. Raises AssertionError for what no node should answer to a correct request.
    """
    if answer.status == 200:
        return "done" if answer.body == b"true" else "refused"
    if answer.status == 429 or answer.body.startswith(b"No cluster leader"):
        return "failed"
    assert answer.status == 500, f"{answer.status} {answer.body!r}"
    return "unknown"


class Recorder:
    """The histories of a run: of keys, and of locks made of them."""

    def __init__(self) -> None:
        self.keys: list[Operation] = []
        self.locks: list[Operation] = []
        self.fences: dict[str, list[tuple[float, int]]] = {}
        """Of each lock that sessions hold: when it was surely held, and its LockIndex then."""
        self.once: dict[str, Outcome] = {}
        """Keys that are written once and never again, and what became of that."""
        self.acknowledged = 0
        self._number = itertools.count(1)

    def unique(self, client: str) -> str:
        """A value that nobody else writes."""
        return f"{client}-{next(self._number)}"


class Client:
    """One client of one node: one request at a time, each recorded."""

    def __init__(self, name: str, place: tuple[str, str, int], recorder: Recorder) -> None:
        self.name, self._recorder = name, recorder
        self._place, address, port = place
        self._http = Http(address, port)
        self._indexes: dict[str, int] = {}

    async def read(self, key: str, mode: str) -> tuple[str, int] | None:
        """Value and ModifyIndex, empty and 0 when the key is not there; None when it failed."""
        began = time.monotonic()
        value, index, error = "", 0, ""
        try:
            path = f"/v1/kv/{key}" + ("?consistent" if mode == "consistent" else "")
            answer = await self._http.ask("GET", path)
            if answer.status == 200:
                (pair,) = json.loads(answer.body)
                value, index = base64.b64decode(pair["Value"]).decode(), pair["ModifyIndex"]
            elif answer.status != 404:
                assert answer.status in {429, 500}, f"{answer.status} {answer.body!r}"
                error = answer.body.decode()
        except (NotSent, Broken) as problem:
            error = str(problem) or repr(problem)
        outcome: Outcome = "failed" if error else "done"
        self._note(key, READ, value, began, outcome, index=index, mode=mode, error=error)
        if error:
            return None
        self._indexes[key] = index
        return value, index

    async def write(self, key: str, value: str, index: int | None = None) -> Outcome:
        """Write, if `index` is given only on the condition that it is the key's ModifyIndex."""
        kind, began, error = (WRITE if index is None else CAS), time.monotonic(), ""
        outcome: Outcome = "unknown"
        try:
            path = f"/v1/kv/{key}" + ("" if index is None else f"?cas={index}")
            answer = await self._http.ask("PUT", path, value.encode())
            outcome = written(answer)
            assert outcome != "refused" or kind == CAS, "a write without a condition was refused"
            error = answer.body.decode() if answer.status != 200 else ""
        except NotSent as problem:
            outcome, error = "failed", str(problem)
        except Broken as problem:
            error = str(problem)
        finally:
            # A client that is cancelled leaves an unknown outcome behind, too.
            self._note(key, kind, value, began, outcome, index=index or 0, error=error)
        if outcome == "done":
            self._recorder.acknowledged += 1
        return outcome

    def _note(
        self,
        key: str,
        kind: str,
        value: str,
        began: float,
        outcome: Outcome,
        *,
        index: int,
        mode: str = "",
        error: str = "",
    ) -> None:
        noted = Operation(
            client=self.name,
            key=key,
            kind=kind,
            value=value,
            began=began,
            ended=time.monotonic(),
            outcome=outcome,
            index=index,
            mode=mode,
            place=self._place,
            error=error,
        )
        self._recorder.keys.append(noted)

    async def work(self, keys: list[str], dice: random.Random, pause: float) -> None:
        """Read, write and compare without end; half of the reads in each mode."""
        while True:
            key, kind = dice.choice(keys), dice.random()
            if kind < 0.1:
                await self.once(ONCE)
            elif kind < 0.5:
                await self.read(key, dice.choice(MODES))
            elif kind < 0.75:
                await self.write(key, self._recorder.unique(self.name))
            else:
                index = self._indexes.get(key, 0)
                await self.write(key, self._recorder.unique(self.name), index)
            await asyncio.sleep(dice.uniform(0, 2 * pause))

    async def once(self, prefix: str) -> None:
        """Create a key that nobody else touches."""
        key = prefix + self._recorder.unique(self.name)
        outcome: Outcome = "unknown"
        try:
            answer = await self._http.ask("PUT", f"/v1/kv/{key}?cas=0", b"")
            outcome = written(answer)
        except NotSent:
            outcome = "failed"
        except Broken:
            pass
        finally:
            self._recorder.once[key] = outcome
        if outcome == "done":
            self._recorder.acknowledged += 1

    async def names(self, prefix: str) -> set[str]:
        """Every key with the prefix; waits until the node can tell."""
        while True:
            try:
                answer = await self._http.ask("GET", f"/v1/kv/{prefix}?keys")
            except (NotSent, Broken):
                continue
            if answer.status in {200, 404}:
                return set(json.loads(answer.body) if answer.body else ())
            await asyncio.sleep(0.1)

    async def look(self, keys: list[str], dice: random.Random, pause: float) -> None:
        """Only read, in default mode: all else soon hangs at a leader that is cut off."""
        while True:
            await self.read(dice.choice(keys), "default")
            await asyncio.sleep(dice.uniform(0, 2 * pause))

    async def lock(self, key: str, dice: random.Random, pause: float) -> None:
        """Take a lock and give it back without end."""
        while True:
            mode = dice.choice(MODES)
            found = await self.read(key, mode)
            if found is not None and not found[0].startswith("held-"):
                token = f"held-{self._recorder.unique(self.name)}"
                with self._holding(ACQUIRE, key, token) as told:
                    told.outcome = await self._swap(key, token, found[1], mode)
                if told.outcome == "done":
                    await asyncio.sleep(dice.uniform(0, pause))
                    await self._release(key, token, mode)
            await asyncio.sleep(dice.uniform(0, 2 * pause))

    async def _release(self, key: str, token: str, mode: str) -> None:
        with self._holding(RELEASE, key, token) as told:
            value, index = await self._surely(key, mode)
            if value.startswith(f"{token}."):
                free = f"free-{self._recorder.unique(self.name)}"
                await self._swap(key, free, index, mode)
            # If it is somebody else's by now, who held it twice is seen in the history of locks.
            told.outcome = "done"

    async def _swap(self, key: str, name: str, index: int, mode: str) -> Outcome:
        """Replace what has this index by the name and a number: done or failed, never unknown.

        Once the index is another one, no late copy of a request can do it.
        """
        for attempt in itertools.count():
            outcome = await self.write(key, f"{name}.{attempt}", index)
            if outcome == "done":
                return "done"
            if outcome == "refused" and not attempt:
                return "failed"
            value, now = await self._surely(key, mode)
            if value.startswith(f"{name}."):
                return "done"
            if now != index:
                return "failed"
        raise AssertionError

    async def _surely(self, key: str, mode: str) -> tuple[str, int]:
        while (found := await self.read(key, mode)) is None:
            await asyncio.sleep(0.05)
        return found

    async def hold(self, key: str, dice: random.Random, pause: float) -> None:
        """Lock a key for a session and give it back, without end."""
        session = await self._begin()
        while True:
            token = self._recorder.unique(self.name)
            with self._holding(ACQUIRE, key, token) as told:
                told.outcome = await self._put(f"/v1/kv/{key}?acquire={session}", token)
                if told.outcome == "refused":
                    told.outcome = "failed"
            if told.outcome == "done":
                await self._fence(key, session)
                await asyncio.sleep(dice.uniform(0, pause))
            if told.outcome != "failed" and not await self._let_go(key, token, session, told):
                session = await self._begin()
            await asyncio.sleep(dice.uniform(0, 2 * pause))

    async def _let_go(self, key: str, token: str, session: str, told: _Told) -> bool:
        """Release it; whether the session may go on.

        A request that was not answered may be done late: then the session ends, for good.
        """
        with self._holding(RELEASE, key, token) as gone:
            path = f"/v1/kv/{key}?release={session}"
            if told.outcome == "done":
                gone.outcome = await self._put(path, token)
                while gone.outcome == "failed":
                    await asyncio.sleep(0.05)
                    gone.outcome = await self._put(path, token)
                assert gone.outcome != "refused", f"{key}: {session} held it, and lost it"
                if gone.outcome == "done":
                    return True
            while await self._put(f"/v1/session/destroy/{session}", "") != "done":
                await asyncio.sleep(0.05)
            gone.outcome = told.outcome
        return False

    async def _fence(self, key: str, session: str) -> None:
        now = time.monotonic()
        try:
            answer = await self._http.ask("GET", f"/v1/kv/{key}")
        except (NotSent, Broken):
            return
        if answer.status == 200:
            (pair,) = json.loads(answer.body)
            assert pair["Session"] == session, f"{key}: {session} held it, and lost it: {pair}"
            self._recorder.fences.setdefault(key, []).append((now, pair["LockIndex"]))

    async def _begin(self) -> str:
        """A session that ends only when we say so."""
        body = b'{"NodeChecks": [], "LockDelay": "0s"}'
        while True:
            try:
                answer = await self._http.ask("PUT", "/v1/session/create", body)
                if answer.status == 200:
                    return str(json.loads(answer.body)["ID"])
            except (NotSent, Broken):
                pass
            await asyncio.sleep(0.05)

    async def _put(self, path: str, value: str) -> Outcome:
        try:
            return written(await self._http.ask("PUT", path, value.encode()))
        except NotSent:
            return "failed"
        except Broken:
            return "unknown"

    @contextmanager
    def _holding(self, kind: str, key: str, token: str) -> Iterator[_Told]:
        """Record what happens to a lock, also when the client is cancelled meanwhile."""
        told, began = _Told(), time.monotonic()
        try:
            yield told
        finally:
            end = time.monotonic()
            self._recorder.locks.append(
                Operation(self.name, key, kind, token, began, end, told.outcome, place=self._place)
            )

    def close(self) -> None:
        """Drop the connection."""
        self._http.close()


class _Told(msgspec.Struct):
    outcome: Outcome = "unknown"
