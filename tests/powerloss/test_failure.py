"""The disk itself: a small program writes on it, dies, and exactly what it synced is left."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.processes import TOP
from tests.powerloss.disk import UNKNOWN_OPERATION
from tests.powerloss.failure import lose

PROGRAM = """
import json, os, shutil, signal, sys
from pathlib import Path
from tests.powerloss.disk import Disk
top = Path(sys.argv[1])
top.mkdir(exist_ok=True)
Disk(**json.loads(sys.argv[2])).interpose()
def sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
def append(path, data, keep=True):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, data)
    if keep:
        os.fdatasync(descriptor)
    os.close(descriptor)
{body}
os.kill(os.getpid(), signal.SIGKILL)
"""


def run(
    tmp_path: Path, body: str, *, broken: bool = False, torn: bool = False, stays_on: bool = False
) -> int:
    top, shadow = tmp_path / "top", tmp_path / "shadow"
    about = json.dumps({"folder": str(top), "shadow": str(shadow), "broken": broken})
    program = PROGRAM.replace("{body}", body)
    done = subprocess.run(
        [sys.executable, "-c", program, str(top), about], cwd=TOP, check=False, capture_output=True
    )
    if done.returncode == -9 and not stays_on:
        lose(top, shadow, random.Random(1), torn=torn)
    else:
        print(done.stderr.decode())
    return done.returncode


def left(tmp_path: Path) -> dict[str, bytes]:
    top = tmp_path / "top"
    return {
        str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()
    }


CASES = {
    "synced bytes under a synced name": (
        "append(top / 'a', b'1'); sync(top); append(top / 'a', b'2')",
        {"a": b"12"},
    ),
    "bytes not synced": (
        "append(top / 'a', b'1'); sync(top); append(top / 'a', b'2', keep=False)",
        {"a": b"1"},
    ),
    "a name not synced": ("append(top / 'a', b'1')", {}),
    "a name synced, its bytes not": ("append(top / 'a', b'1', keep=False); sync(top)", {"a": b""}),
    "a file object": (
        "f = (top / 'a').open('wb'); f.write(b'1'); f.flush(); os.fsync(f.fileno()); sync(top);"
        "f.seek(0); f.write(b'2'); f.flush(); os.fsync(f.fileno()); f.write(b'3'); f.flush()",
        {"a": b"2"},
    ),
    "a rename not synced": (
        "append(top / 'a', b'1'); append(top / 'b', b'2'); sync(top);(top / 'b').rename(top / 'a')",
        {"a": b"1", "b": b"2"},
    ),
    "a rename synced": (
        "append(top / 'a', b'1'); append(top / 'b', b'2'); (top / 'b').replace(top / 'a');"
        "sync(top)",
        {"a": b"2"},
    ),
    "a removal not synced": (
        "append(top / 'a', b'1'); sync(top); (top / 'a').unlink()",
        {"a": b"1"},
    ),
    "a folder not synced in the one above": (
        "(top / 'd').mkdir(); append(top / 'd' / 'a', b'1'); sync(top / 'd')",
        {},
    ),
    "folders synced": (
        "(top / 'd').mkdir(); append(top / 'd' / 'a', b'1'); sync(top / 'd'); sync(top)",
        {"d/a": b"1"},
    ),
    "a tree removed": (
        "(top / 'd').mkdir(); append(top / 'd' / 'a', b'1'); sync(top / 'd');"
        "append(top / 'b', b''); shutil.rmtree(top / 'd'); sync(top)",
        {"b": b""},
    ),
    "shortened and written anew": (
        "append(top / 'a', b'123'); sync(top); f = os.open(top / 'a', os.O_RDWR | os.O_TRUNC);"
        "os.write(f, b'4'); os.fsync(f); os.ftruncate(f, 0)",
        {"a": b"4"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_was_synced_is_left(tmp_path: Path, name: str) -> None:
    body, expected = CASES[name]
    assert run(tmp_path, body) == -9
    assert left(tmp_path) == expected


def test_what_was_there_before_is_durable(tmp_path: Path) -> None:
    (tmp_path / "top" / "d").mkdir(parents=True)
    (tmp_path / "top" / "d" / "a").write_bytes(b"1")
    assert (
        run(tmp_path, "append(top / 'd' / 'a', b'2'); append(top / 'd' / 'a', b'3', False)") == -9
    )
    assert left(tmp_path) == {"d/a": b"12"}


def test_what_a_dead_process_left_unsynced_is_not_durable(tmp_path: Path) -> None:
    body = "append(top / 'a', b'1'); append(top / 'b', b'1'); sync(top)"
    more = "; append(top / 'a', b'2', keep=False); append(top / 'b', b'2', keep=False)"
    assert run(tmp_path, body + more, stays_on=True) == -9
    assert run(tmp_path, "append(top / 'a', b'3'); append(top / 'b', b'3', keep=False)") == -9
    assert left(tmp_path) == {"a": b"123", "b": b"1"}


def test_torn_bytes_follow_the_synced(tmp_path: Path) -> None:
    body = "append(top / 'a', b'1' * 9); sync(top); append(top / 'a', b'2' * 999, keep=False)"
    assert run(tmp_path, body, torn=True) == -9
    data = left(tmp_path)["a"]
    assert data.startswith(b"1" * 9)
    assert 9 < len(data) < 9 + 999


def test_a_broken_disk_loses_what_it_said_to_keep(tmp_path: Path) -> None:
    assert run(tmp_path, "append(top / 'a', b'1'); sync(top)", broken=True) == -9
    assert left(tmp_path) == {"a": b""}


@pytest.mark.parametrize(
    "body",
    [
        "append(top / 'a', b'1'); os.link(top / 'a', top / 'b')",
        "os.symlink('x', top / 'a')",
        "append(top / 'a', b'1'); os.truncate(top / 'a', 0)",
        "(top / 'd').mkdir(); append(top / 'a', b''); (top / 'a').rename(top / 'd' / 'a')",
        "append(top / 'a', b'1'); import mmap; mmap.mmap(os.open(top / 'a', os.O_RDWR), 1)",
        "os.open(top / 'a', os.O_WRONLY | os.O_CREAT | os.O_DSYNC)",
        "import _io; _io.open(top / 'a', 'wb')",
    ],
)
def test_what_it_does_not_know_it_refuses(tmp_path: Path, body: str) -> None:
    assert run(tmp_path, body) == UNKNOWN_OPERATION
