"""Nodes that were forked are processes as others are."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.cluster.forked import SERVERS, Forked

pytestmark = pytest.mark.together


def python(code: str, log: Path, **environment: str) -> Forked:
    """Have it run Python."""
    arguments = ["--number=1", "--repeat=1", f"--setup={code}", "pass"]
    return Forked(arguments, log, module="timeit", environment=environment)


@pytest.mark.parametrize(("word", "code", "says"), [("version", 0, "mesh "), ("bake", 2, "bake")])
def test_they_end_with_the_code_of_meshd(tmp_path: Path, word: str, code: int, says: str) -> None:
    log = tmp_path / "log"
    node = Forked([word], log)
    assert node.wait(60) == code
    assert node.poll() == code
    assert says in log.read_text()
    node.kill()


def test_they_are_waited_for_and_hear_signals(tmp_path: Path) -> None:
    node = python("import signal; signal.pause()", tmp_path / "log")
    assert node.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        node.wait(0)
    node.send_signal(signal.SIGTERM)
    assert node.wait() == -signal.SIGTERM


def test_they_have_their_own_environment(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert python("import os; print(os.environ['MESH_A'])", log, MESH_A="here").wait() == 0
    assert python("import os; print(os.environ.get('MESH_A'))", log).wait() == 0
    assert log.read_text().startswith("here\n")
    assert "None" in log.read_text()


def test_those_of_one_test_process_hash_differently(tmp_path: Path) -> None:
    seen = set()
    for number in range(SERVERS):
        log = tmp_path / str(number)
        assert python("print(hash('mesh'))", log).wait() == 0
        seen.add(log.read_text().split("\n")[0])
    assert len(seen) == SERVERS
