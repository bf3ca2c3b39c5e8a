"""Progress: a line on a terminal while somebody waits, and nothing in a pipe."""

from __future__ import annotations

import io

import pytest

from mesh.cli import main
from mesh.cli.output import Output
from mesh.cli.progress import Progress
from tests.client.scripted import Scripted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Screen(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def watched(stdout: io.TextIOWrapper, stderr: io.StringIO) -> tuple[bytes, str]:
    with Scripted() as server:
        server.on("GET", "/v1/kv/a", "[]", headers={"X-Consul-Index": "1"})
        process = main.Process({"MESH_HTTP_ADDR": server.address}, io.BytesIO(), stdout, stderr)
        assert main.run(["watch", "-type", "key", "-key", "a"], process) == 0
    assert isinstance(stdout.buffer, io.BytesIO)
    return stdout.buffer.getvalue(), stderr.getvalue()


def test_a_watch_says_on_a_terminal_that_it_waits() -> None:
    said, noted = watched(Screen(io.BytesIO(), "utf-8"), Terminal())
    assert said == b"null\n"
    assert "Waiting for news" in noted


def test_a_watch_is_quiet_in_a_pipe() -> None:
    assert watched(io.TextIOWrapper(io.BytesIO(), "utf-8"), Terminal()) == (b"null\n", "")
    assert watched(Screen(io.BytesIO(), "utf-8"), io.StringIO()) == (b"null\n", "")


def test_it_leaves_the_terminal_to_others_meanwhile() -> None:
    stderr = Terminal()
    out = Output(Terminal(), stderr, {"TERM": "xterm"})
    with Progress(out, "first", waits=True) as progress:
        assert "first" in stderr.getvalue()
        progress.say("second")
        with progress.aside():
            before = stderr.getvalue()
            progress.say("third")
            assert stderr.getvalue() == before
        assert "third" in stderr.getvalue()
