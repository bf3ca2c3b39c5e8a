"""Every example in the documentation, run against a real node; one page has one fresh node.

A new page needs nothing here: see `pages.py` for what an example looks like.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.processes import eventually, free_ports
from tests.docs import pages
from tests.docs.shell import Shell

TOP = Path(__file__).parent.parent.parent
PAGES = pages.pages(TOP)
ADDRESS = "127.0.0.1"
PORTS = {"http": 8500, "dns": 8600, "server": 8300, "serf_lan": 8301, "serf_wan": 8302}
SERVICES = (9090, 9091, 9092)
"""Ports that the pages use for services of their own."""
SETTLE_SECONDS = 10.0
"""How long a reader may see the state before: an agent tells the servers a moment later."""

WRITES = re.compile(r"(^|[\s;|&])(-X|--request|-d|--data\S*|-T|--upload-file|-o)([\s=]|$)|-XPUT|>")
READS = re.compile(
    r"^(dig |curl |meshctl "
    r"(members|info|rtt|catalog \w+|kv (get|list|export)|session (list|read)"
    r"|query (list|get|execute|explain)"
    r"|snapshot inspect|history|diff|maint|operator (usage|\S+ (state|health|status|list-peers))))"
)
"""Commands that may be repeated until they show what the page says."""


class Node:
    """A `meshd agent -dev` with ports of its own, which pass for the usual ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        real = free_ports(ADDRESS, len(PORTS) + len(SERVICES))
        usual = [*PORTS.values(), *SERVICES]
        self.real = dict(zip(map(str, usual), map(str, real), strict=True))
        self.usual = {there: here for here, there in self.real.items()}
        self.http = self.real["8500"]
        given = " ".join(f"{name} = {self.real[str(port)]}" for name, port in PORTS.items())
        flags = ["-node", "dev", "-bind", ADDRESS, "-data-dir", str(folder / "data")]
        flags += ["-hcl", f"ports {{ {given} }}"]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mesh.daemon", "agent", "-dev", *flags],
                cwd=TOP,
                stdout=log,
                stderr=log,
            )

    def settled(self) -> bool:
        """Whether it leads and is in the catalog."""
        url = f"http://{ADDRESS}:{self.http}/v1/health/node/dev?passing"
        with urllib.request.urlopen(url, timeout=5) as response:
            return b"serfHealth" in response.read()

    def here(self, text: str) -> str:
        """The page's words with the real ports."""
        return _exchange(self.real, text)

    def there(self, text: str) -> str:
        """What came out with the page's ports."""
        return _exchange(self.usual, text)

    def environment(self) -> dict[str, str]:
        """What commands are run with."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        plain = {"TERM": "dumb", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": path}
        # As on a terminal, curl shows no progress.
        (self.folder / ".curlrc").write_text("no-progress-meter\n")
        own = {"MESH_HTTP_ADDR": f"{ADDRESS}:{self.http}", "CURL_HOME": str(self.folder)}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CONSUL_", "MESH_"))}
        return kept | plain | own

    def stop(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


def _exchange(ports: dict[str, str], text: str) -> str:
    found = re.compile(rf"(?<![\w.])({'|'.join(ports)})(?![\w])")
    return found.sub(lambda match: ports[match[1]], text)


@contextmanager
def node(folder: Path) -> Iterator[Node]:
    """A running one; its log is shown when the page fails."""
    started = Node(folder)
    try:
        eventually(started.settled)
        yield started
    except BaseException:
        print((folder / "log").read_text(errors="replace")[-4000:])
        raise
    finally:
        started.stop()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of(page: Path, tmp_path: Path) -> None:
    if missing := [name for name in ("bash", "curl", "dig") if shutil.which(name) is None]:
        pytest.fail(f"the examples need {', '.join(missing)}")
    work = tmp_path / "work"
    work.mkdir()
    with node(tmp_path) as running:
        shell = Shell(work, running.environment())
        try:
            for step in pages.steps(page.read_text()):
                where = f"{page.relative_to(TOP)}, line {step.line}"
                if isinstance(step, pages.File):
                    (work / step.name).write_text(running.here(step.text))
                elif isinstance(step, pages.Program):
                    _run_program(running, shell, step, where)
                else:
                    _run_command(running, shell, step, where)
        finally:
            shell.close()


def _run_program(running: Node, shell: Shell, program: pages.Program, where: str) -> None:
    text = running.here(program.text)
    code, lines = shell.run(f"{sys.executable} - <<'END OF PROGRAM'\n{text}END OF PROGRAM")
    printed = [running.there(line) for line in lines]
    told = "\n".join(printed)
    assert code == 0, f"{where}:\n{program.text}\nended with code {code}:\n{told}"
    if program.expected is not None and not pages.matches(program.expected, printed):
        pytest.fail(f"{where}:\n{pages.difference(program.expected, printed)}")


def _run_command(running: Node, shell: Shell, command: pages.Command, where: str) -> None:
    until = time.monotonic() + SETTLE_SECONDS
    again = READS.match(command.text) and not WRITES.search(command.text)
    while True:
        code, lines = shell.run(running.here(command.text))
        printed = [running.there(line) for line in lines]
        # A command that fails has to say why, and the page to show it.
        if pages.matches(command.expected, printed) and (code == 0 or command.expected):
            return
        if not again or time.monotonic() > until:
            break
        time.sleep(0.1)
    told = pages.difference(command.expected, printed) or "\n".join(printed)
    pytest.fail(f"{where}: $ {command.text}\nended with code {code}\n{told}")


def test_the_wildcard_is_for_anything() -> None:
    assert pages.matches(["a ... c", "..."], ["a b c", "", "d"])
    assert pages.matches(["..."], [])
    assert pages.matches(["a  b"], ["a      b"])
    assert pages.matches([], ["", " "])
    assert not pages.matches(["a"], ["a", "b"])
    assert not pages.matches(["a", "...", "d"], ["a", "b", "c"])


def test_what_a_page_says() -> None:
    text = "\n".join(
        [
            "```console",
            "$ one \\",
            "  two",
            "said",
            "$ three <<END",
            "> four",
            "> END",
            "```",
            "```hcl web.hcl",
            "service {}",
            "```",
            "```python",
            "print(1)",
            "```",
            "",
            "```text",
            "1",
            "```",
            "words",
            "```text",
            "not output",
            "```",
        ]
    )
    assert pages.steps(text) == [
        pages.Command(2, "one \\\n  two", ["said"]),
        pages.Command(5, "three <<END\nfour\nEND", []),
        pages.File(10, "web.hcl", "service {}\n"),
        pages.Program(13, "print(1)\n", ["1"]),
    ]
