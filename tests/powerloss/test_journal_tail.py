"""What a journal calls durable when it is opened outlives a power failure."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

from tests.cluster.processes import TOP
from tests.powerloss.failure import lose

PROGRAM = """
import json, os, sys
from tests.powerloss.disk import Disk
Disk(**json.loads(sys.argv[2])).interpose()
from mesh.raft.journal import Journal, Segments
journal, segments = Journal(), Segments(sys.argv[1] + "/journal")
journal.replay(segments.open(fresh=True))
print(journal.durable_index, flush=True)
for index in range(journal.last_index + 1, 4):
    journal.append(b"command", index, 1)
    if index == 3:
        os.fdatasync = lambda _: os.kill(os.getpid(), 9)  # Killed with the bytes written.
    segments.store(journal.take())
os.kill(os.getpid(), 9)
"""


def test_the_tail_that_a_killed_process_left(tmp_path: Path) -> None:
    top, shadow = tmp_path / "top", tmp_path / "shadow"
    top.mkdir()

    def durable_at_open() -> int:
        about = json.dumps({"folder": str(top), "shadow": str(shadow)})
        command = [sys.executable, "-c", PROGRAM, str(top), about]
        done = subprocess.run(command, cwd=TOP, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        return int(done.stdout)

    assert durable_at_open() == 0
    promised = durable_at_open()
    assert promised == 3
    lose(top, shadow, random.Random(1), torn=False)
    assert durable_at_open() >= promised
