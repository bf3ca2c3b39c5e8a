"""Runs tests/cases/cli/*.txt: what an agent answers, a command line, and what comes of it."""

from __future__ import annotations

import importlib
import io
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from mesh.cli import main
from mesh.cli.command import Command, parse
from tests.client.scripted import Scripted

CASES = Path(__file__).parent.parent / "cases" / "cli"
RULE = "----"


class Case(NamedTuple):
    title: str
    given: list[str]
    expected: list[str]


def parse_cases(text: str) -> list[Case]:
    cases = []
    for block in text.split("=== ")[1:]:
        title, *lines = block.strip("\n").split("\n")
        at = lines.index(RULE) if RULE in lines else len(lines)
        cases.append(Case(title, lines[:at], lines[at + 1 :]))
    return cases


def write_cases(cases: list[Case]) -> str:
    blocks = ["\n".join([case.title, *case.given, RULE, *case.expected]) for case in cases]
    return "".join(f"=== {block}\n\n" for block in blocks).removesuffix("\n")


def indented_under(lines: list[str], start: int) -> str:
    found = []
    for line in lines[start + 1 :]:
        if not line.startswith("  "):
            break
        found.append(line[2:])
    return "\n".join(found)


class World:
    """An agent that answers by script, and a folder with the case's files."""

    def __init__(self, server: Scripted) -> None:
        self.server = server
        self.environment = {"MESH_HTTP_ADDR": server.address}
        self.stdin = b""
        self.shown: list[str] = []

    def play(self, given: list[str]) -> list[str]:
        for number, line in enumerate(given):
            verb, _, rest = line.partition(" ")
            body = indented_under(given, number)
            if verb == "answer":
                method, target, *status = rest.split()
                self.server.on(method, target, body, status=int(status[0]) if status else 200)
            elif verb == "file":
                Path(rest).write_text(body)
            elif verb == "stdin":
                self.stdin = rest.encode()
            elif verb == "env":
                name, _, value = rest.partition("=")
                self.environment[name] = value
            elif verb == "$":
                self.run(shlex.split(rest)[1:])
            else:
                assert line.startswith(("  ", "#")), f"what does {line!r} mean?"
        return self.shown

    def run(self, words: list[str]) -> None:
        stdout, stderr = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        process = main.Process(self.environment, io.BytesIO(self.stdin), stdout, stderr)
        before = len(self.server.said)
        code = main.run(words, process)
        for said in self.server.said[before:]:
            if said.method != "GET":
                sent = f" {said.body.decode()}" if said.body else ""
                self.shown.append(f"> {said.method} {said.target}{sent}")
        stdout.flush()
        assert isinstance(stdout.buffer, io.BytesIO)
        self.shown.append(f"exit {code}")
        self.shown += stdout.buffer.getvalue().decode().splitlines()
        for line in stderr.getvalue().splitlines():
            self.shown.append(f"! {line.replace(self.server.address, 'AGENT')}")


@pytest.mark.parametrize("path", sorted(CASES.glob("*.txt")), ids=lambda path: path.stem)
def test_cases(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    cases = parse_cases(path.read_text())
    assert cases
    found = []
    for case in cases:
        with Scripted() as server:
            found.append(case._replace(expected=World(server).play(case.given)))
    if request.config.getoption("update", default=False):
        path.write_text(write_cases(found))
    else:
        assert write_cases(cases) == write_cases(found), "--update rewrites the expected output"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_is_there_and_explained(name: str) -> None:
    command = main.find(name)
    assert isinstance(command, Command)
    assert command.about.endswith(".")
    assert command.examples
    for example in command.examples:
        words = shlex.split(example.line.partition(" >")[0])
        assert words[: len(name.split())] == name.split()
        parse(name, command, words[len(name.split()) :])


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_takes_format_json(name: str) -> None:
    command = main.find(name)
    needed = [one.choices[0] if one.choices else "1" for one in command.arguments if one.required]
    assert parse(name, command, ["--format", "json", *needed]).text("format") == "json"


def test_every_command_of_a_module_is_listed() -> None:
    modules = {module for module, _ in main.COMMANDS.values()}
    for module in modules:
        for name in importlib.import_module(module).COMMANDS:
            assert main.COMMANDS[name][0] == module


def test_nobody_there_is_said_in_words() -> None:
    with Scripted() as server:
        address = server.address
    stdout, stderr = io.StringIO(), io.StringIO()
    process = main.Process({}, io.BytesIO(), stdout, stderr)
    assert main.run(["kv", "put", "a", "b", "-http-addr", address], process) == 1
    assert stdout.getvalue() == ""
    assert stderr.getvalue() == (
        f"meshctl: cannot reach the mesh agent at {address}: connection refused. "
        "Is meshd running? Set MESH_HTTP_ADDR or --http-addr to ask another one.\n"
    )


def test_whoever_reads_the_output_may_stop() -> None:
    command = f"{sys.executable} -m mesh.cli.main completion bash | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stdout.splitlines()[1] in {"0", "141"}
    assert done.stderr == ""


def test_ctrl_c_ends_monitor_quietly() -> None:
    with Scripted() as server:
        server.on("GET", "/v1/agent/monitor?loglevel=info", "one line\n", stall=True)
        command = [sys.executable, "-m", "mesh.cli.main", "monitor", "-http-addr", server.address]
        # Tests that run in the background of a shell would hand on that SIGINT is ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        signal.signal(signal.SIGINT, before)
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"one line\n"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == b""
