"""Real programs, and the end of everything they start."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from mesh.agent import scripts
from tests.agent.conftest import until


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def pids(folder: Path) -> list[int]:
    return [int(name) for name in (folder / "pids").read_text().split()]


def family(folder: Path, *, parent_stays: bool) -> list[str]:
    """A shell that starts two children holding its output, and writes down who they are."""
    sleeper = "sleep 300 & echo $! >> pids; "
    end = "wait" if parent_stays else "exit 0"
    return ["/bin/sh", "-c", f"cd {folder}; {sleeper}{sleeper}echo $$ >> pids; echo up; {end}"]


@pytest.mark.parametrize(("code", "status"), [(0, "passing"), (1, "warning"), (2, "critical")])
async def test_the_exit_code_is_the_status(code: int, status: str) -> None:
    result = await scripts.run(["/bin/sh", "-c", f"echo out; echo err >&2; exit {code}"], 5)
    assert (result.status, result.output) == (status, "out\nerr\n")


async def test_a_signal_is_critical() -> None:
    result = await scripts.run(["/bin/sh", "-c", "kill -9 $$"], 5)
    assert result.status == "critical"


async def test_a_program_that_is_not_there() -> None:
    result = await scripts.run(["/no/such/program"], 5)
    assert result.status == "critical"
    assert "No such file" in result.output


@pytest.mark.parametrize("parent_stays", [True, False])
async def test_the_timeout_kills_the_whole_tree(tmp_path: Path, parent_stays: bool) -> None:
    result = await scripts.run(family(tmp_path, parent_stays=parent_stays), 0.4)
    assert (result.status, result.output) == ("critical", "Timed out (400ms) running check")
    found = pids(tmp_path)
    assert len(found) == 3
    await until(lambda: not any(alive(pid) for pid in found))


async def test_cancelling_kills_the_whole_tree(tmp_path: Path) -> None:
    task = asyncio.create_task(scripts.run(family(tmp_path, parent_stays=True), 60))
    await until(lambda: (tmp_path / "pids").exists() and len(pids(tmp_path)) == 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not any(alive(pid) for pid in pids(tmp_path)))


def children() -> str:
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()


def written(folder: Path) -> int:
    return len(pids(folder)) if (folder / "pids").exists() else 0


async def test_cancelling_while_it_starts_kills_the_whole_tree_too(tmp_path: Path) -> None:
    before = children()
    task = asyncio.create_task(scripts.run(family(tmp_path, parent_stays=True), 60))
    while children() == before:
        await asyncio.sleep(0)
    # asyncio has forked, and learns that the program runs only when we let it.
    while written(tmp_path) < 3:
        os.sched_yield()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not any(alive(pid) for pid in pids(tmp_path)))


async def test_an_endless_output_keeps_its_end() -> None:
    size = 2 * scripts.OUTPUT_MAX_BYTES
    result = await scripts.run(["/bin/sh", "-c", f"head -c {size} /dev/zero; echo end"], 20)
    assert len(result.output) == scripts.OUTPUT_MAX_BYTES
    assert result.output.endswith("end\n")


async def test_one_that_left_the_group_delays_nothing(tmp_path: Path) -> None:
    escape = f"cd {tmp_path}; setsid sleep 300 & echo $! > pids; exit 0"
    result = await scripts.run(["/bin/sh", "-c", escape], 0.4)
    assert result.output.startswith("Timed out")
    for pid in pids(tmp_path):
        if alive(pid):
            os.kill(pid, 9)


async def test_no_descriptor_is_left() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await scripts.run(["true"], 5)
        await scripts.run(["/no/such/program"], 5)
        await scripts.run(["sleep", "30"], 0.01)
    await until(lambda: len(os.listdir("/proc/self/fd")) <= before)
