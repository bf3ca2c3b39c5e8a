"""Remote execution with real programs, over a registry in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.agent import execution
from mesh.agent.events import Event
from mesh.agent.execution import CANNOT_RUN, OUTPUT_MAX_BYTES, RUNNING_MAX, TIMED_OUT, Job
from mesh.clock import SystemClock
from mesh.codec import to_json
from mesh.errors import Invalid, NoLeader
from mesh.registry import catalog, kv, sessions
from mesh.registry.port import Answer, Query, ReadOptions
from tests.agent.conftest import until
from tests.registry_memory import MemoryRegistry

SESSION = "5f3a1c9e-0b7d-4a64-9a51-2e6d0c8b7f10"
CLOCK = SystemClock()


class World:
    def __init__(self) -> None:
        self.registry = MemoryRegistry()
        self.execution = execution.Execution("n1", self.registry, CLOCK)

    def job(self, session: str = SESSION, expires: float = 60.0, **fields: object) -> None:
        job = Job(expires=CLOCK.wall() + expires, **fields)  # type: ignore[arg-type]
        self.registry.apply(kv.Set(f"_rexec/{session}/job", to_json(job)))

    def call(self, session: str = SESSION, prefix: str = "_rexec") -> None:
        payload = to_json({"Prefix": prefix, "Session": session})
        self.execution.hear(Event(id=SESSION, name="_rexec", payload=payload))

    def value(self, name: str, session: str = SESSION) -> bytes | None:
        key = f"_rexec/{session}/n1/{name}"
        pair: kv.Pair | None = self.registry.answers.read(kv.Get(key)).value
        return pair.value if pair is not None else None

    def output(self, session: str = SESSION) -> bytes:
        pairs: list[kv.Pair] = self.registry.answers.read(
            kv.Under(f"_rexec/{session}/n1/out/")
        ).value
        return b"".join(pair.value for pair in pairs)

    async def exit(self, session: str = SESSION) -> int:
        await until(lambda: self.value("exit", session) is not None, 20)
        code = self.value("exit", session)
        assert code is not None
        return int(code)

    async def run(self, **fields: object) -> tuple[int, bytes]:
        self.job(**fields)  # type: ignore[arg-type]
        self.call()
        return await self.exit(), self.output()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.execution.stop()


async def test_a_command_its_output_and_its_exit_code(world: World) -> None:
    assert await world.run(command="echo out; echo err >&2; exit 7") == (7, b"out\nerr\n")
    assert world.value("ack") == b""


async def test_what_a_session_holds_goes_with_it(world: World) -> None:
    node = catalog.Node(name="n1", address="10.0.0.1")
    world.registry.apply(catalog.Register(node=node))
    begin = sessions.Create(SESSION, "n1", behavior="delete", node_checks=())
    world.registry.apply(begin)
    job = to_json(Job(command="echo out", expires=CLOCK.wall() + 60.0))
    world.registry.apply(kv.Acquire(f"_rexec/{SESSION}/job", job, SESSION))
    world.call()
    world.call()
    assert (await world.exit(), world.output()) == (0, b"out\n")
    world.registry.apply(sessions.Destroy(SESSION))
    assert kv.Under("").run(world.registry.database.view()) == []


async def test_arguments_go_through_no_shell(world: World) -> None:
    assert await world.run(args=["echo", "$HOME;", "x y"]) == (0, b"$HOME; x y\n")


@pytest.mark.parametrize(
    ("script", "said"),
    [(b"echo $0 | grep -c mesh-exec\n", b"1\n"), (b"#!/usr/bin/env python3\nprint(6*7)", b"42\n")],
)
async def test_scripts_run_from_a_file_that_is_gone_afterwards(
    world: World, script: bytes, said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert await world.run(script=script) == (0, said)
    assert not os.listdir(tmp_path)


async def test_a_job_runs_once_however_often_it_is_heard(world: World, tmp_path: Path) -> None:
    await world.run(command=f"echo ran >> {tmp_path}/times")
    world.call()
    world.call()
    other = "00000000-0000-4000-8000-000000000001"
    world.job(other, command="true")
    world.call(other)
    await world.exit(other)
    await until(lambda: not world.execution._tasks._running)
    assert (tmp_path / "times").read_text() == "ran\n"


async def test_what_takes_too_long_is_ended(world: World) -> None:
    code, output = await world.run(command="echo begun; sleep 300", seconds=0.5)
    assert (code, output) == (TIMED_OUT, b"begun\nended after 500ms\n")


@pytest.mark.parametrize(
    ("job", "said"),
    [({"args": ["/no/such"]}, b"No such file"), ({}, b"names no command")],
)
async def test_what_cannot_run(world: World, job: dict[str, object], said: bytes) -> None:
    code, output = await world.run(**job)
    assert code == CANNOT_RUN
    assert said in output


async def test_long_output_comes_in_pieces_and_is_cut(world: World) -> None:
    code, output = await world.run(command=f"head -c {2 * OUTPUT_MAX_BYTES} /dev/zero; echo end")
    assert code == 0
    assert output.startswith(b"\0" * OUTPUT_MAX_BYTES + b"\n(the output is too long")
    assert len(output) < OUTPUT_MAX_BYTES + 100
    pieces = world.registry.answers.read(kv.Under(f"_rexec/{SESSION}/n1/out/")).value
    assert max(len(pair.value) for pair in pieces) == execution.PIECE_BYTES


async def test_output_is_seen_while_the_job_runs(world: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    world.job(command=f"echo first; cat {tmp_path}/gate")
    world.call()
    await until(lambda: world.output() == b"first\n")
    assert world.value("exit") is None
    await asyncio.to_thread((tmp_path / "gate").write_bytes, b"second")
    assert await world.exit() == 0
    assert world.output() == b"first\nsecond"


async def test_too_many_jobs_are_refused(world: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    sessions = [f"00000000-0000-4000-8000-{n:012}" for n in range(RUNNING_MAX + 1)]
    for session in sessions[:-1]:
        world.job(session, command=f"cat {tmp_path}/gate")
        world.call(session)
    await until(lambda: world.execution._running == RUNNING_MAX)
    world.job(sessions[-1], command="true")
    world.call(sessions[-1])
    assert await world.exit(sessions[-1]) == CANNOT_RUN
    assert b"jobs run on this node already" in world.output(sessions[-1])


async def test_what_makes_no_sense_is_ignored(world: World) -> None:
    world.job("../../etc", command="true")
    for session, prefix in (("../../etc", "_rexec"), ("", "_rexec"), (SESSION, "other")):
        world.call(session, prefix)
    world.execution.hear(Event(id=SESSION, name="_rexec", payload=b"{"))
    world.call()  # There is no such job.
    other = "00000000-0000-4000-8000-000000000001"
    world.job(other, expires=-1.0, command="true")
    world.call(other)
    await until(lambda: not world.execution._tasks._running)
    keys = {pair.key for pair in world.registry.answers.read(kv.Under("")).value}
    assert keys == {"_rexec/../../etc/job", f"_rexec/{other}/job"}


@given(st.binary(max_size=200) | st.text(max_size=99).map(str.encode))
def test_whatever_comes_it_names_a_session_or_is_invalid(payload: bytes) -> None:
    with suppress(Invalid):
        execution.read_call(payload)


async def test_without_a_leader_the_job_is_not_begun(world: World, tmp_path: Path) -> None:
    world.job(command=f"touch {tmp_path}/ran")
    world.registry.error = NoLeader("no leader")
    world.call()
    await until(lambda: not world.execution._tasks._running)
    assert not os.listdir(tmp_path)


async def test_a_job_that_is_taken_away_is_ended(world: World, tmp_path: Path) -> None:
    world.job(command=f"echo $$ > {tmp_path}/pid; echo said; sleep 300")
    world.call()
    await until(lambda: world.output() == b"said\n")
    pid = int((tmp_path / "pid").read_text())
    world.registry.apply(kv.DeleteUnder(f"_rexec/{SESSION}/"))
    await until(lambda: not Path(f"/proc/{pid}").exists())
    await until(lambda: not world.execution._tasks._running)
    assert not world.registry.answers.read(kv.Under("")).value


async def test_a_stopped_agent_ends_its_jobs(world: World, tmp_path: Path) -> None:
    world.job(command=f"echo $$ > {tmp_path}/pid; sleep 300")
    world.call()
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    pid = int((tmp_path / "pid").read_text())
    await world.execution.stop()
    await until(lambda: not Path(f"/proc/{pid}").exists())


async def test_a_job_goes_on_while_nobody_can_say_whether_it_is_wanted(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, failed = world.registry.watch, asyncio.Event()

    async def leaderless(query: Query[Any], options: ReadOptions) -> AsyncIterator[Answer[Any]]:
        if not failed.is_set():
            failed.set()
            raise NoLeader("no leader")
        async for answer in watch(query, options):
            yield answer

    monkeypatch.setattr(world.registry, "watch", leaderless)
    (tmp_path / "wait").touch()
    world.job(command=f"while [ -e {tmp_path}/wait ]; do sleep 0.05; done; echo said; exit 3")
    world.call()
    await failed.wait()
    (tmp_path / "wait").unlink()
    assert (await world.exit(), world.output()) == (3, b"said\n")
