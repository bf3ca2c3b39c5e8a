"""The demo with a stand-in for meshd: it starts, shows, and leaves nothing running."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent
RUN = f"""
import sys
from mesh.cli import compose, demo
compose.PROGRAMS["meshd"] = [sys.executable, "{TOP}/tests/cli/fake_meshd.py"]
sys.exit(demo.main(sys.argv[1:]))
"""


class Run:
    """A running demo, and the processes that it started."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *flags],
            cwd=TOP,
            env=os.environ | {"TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []

    def read_until(self, pattern: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if re.search(pattern, line):
                return
        raise AssertionError(f"no {pattern!r} in\n{''.join(self.lines)}")

    def finish(self) -> str:
        rest, _ = self.process.communicate(timeout=20)
        return "".join(self.lines) + rest

    def left_running(self) -> list[str]:
        """The processes that work in a folder of this demo."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cwd"):
            try:
                if str(entry.readlink()).startswith(str(self.folder)):
                    found.append(entry.parent.name)
            except OSError:
                continue
        return found


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[list[Run]]:
    started: list[Run] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        if one.process.stdout is not None:
            one.process.stdout.close()


@pytest.mark.together
def test_once_starts_waits_tells_how_long_and_stops(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(Run(tmp_path, "--once"))
    said = runs[0].finish()
    assert runs[0].process.returncode == 0, said
    assert "a leader: ready for writes" in said
    assert "every node's DNS names all 3" in said
    assert "Everything stopped" in said
    assert runs[0].left_running() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.together
def test_two_run_side_by_side_and_ctrl_c_leaves_nothing(tmp_path: Path, runs: list[Run]) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        runs.append(Run(tmp_path / name, "--plain"))
    for one in runs:
        one.read_until(r"kill -9 \d+ .*server1")
        assert len(one.left_running()) == 9
    networks = {re.findall(r"curl (127\.0\.\d+)", "".join(one.lines))[0] for one in runs}
    assert len(networks) == 2
    for one in runs:
        one.process.send_signal(signal.SIGINT)
        assert "Everything stopped" in one.finish()
        assert one.process.returncode == 0
        assert one.left_running() == []
        assert list(one.folder.iterdir()) == []


@pytest.mark.together
@pytest.mark.skipif(sys.platform != "linux", reason="the leash is Linux's")
def test_killed_it_takes_its_processes_with_it(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(Run(tmp_path, "--plain"))
    runs[0].read_until(r"kill -9 \d+ .*server1")
    runs[0].process.kill()
    runs[0].process.wait()
    until = time.monotonic() + 10
    while runs[0].left_running() and time.monotonic() < until:
        os.sched_yield()
    assert runs[0].left_running() == []


@pytest.mark.together
def test_a_node_that_cannot_start_is_told_with_its_last_words(
    tmp_path: Path, runs: list[Run]
) -> None:
    file = tmp_path / "compose.yml"
    server = {
        "command": ["python", "-c", "import sys; sys.exit('no such flag')"],
        "networks": {"n": {"ipv4_address": "10.0.0.11"}},
    }
    file.write_text(json.dumps({"services": {"server1": server}}))
    (tmp_path / "demo").mkdir()
    runs.append(Run(tmp_path, "--once", "--file", str(file)))
    said = runs[0].finish()
    assert runs[0].process.returncode == 1
    assert "server1 ended with code 1" in said
    assert "no such flag" in said


def test_a_flag_that_is_none_is_told_as_of_dev(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(Run(tmp_path, "--nosuch"))
    assert '"./dev demo --help" shows all' in runs[0].finish()
    assert runs[0].process.returncode == 2
