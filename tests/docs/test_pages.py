"""Every example in the documentation, run against a real node; one page has one fresh node.

A new page needs nothing here: see `pages.py` for what an example looks like.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.dev import ADDRESS, DevNode, dev_node
from tests.cluster.processes import TOP, free_ports
from tests.docs import pages
from tests.docs.shell import Shell

PAGES = pages.pages(TOP)
SERVICES = (9090, 9091, 9092, 9093)
"""Ports that the pages use for services of their own."""
SETTLE_SECONDS = 10.0
"""How long a reader may see the state before: an agent tells the servers a moment later."""

WRITES = re.compile(r"(^|[\s;|&])(-X|--request|-d|--data\S*|-T|--upload-file|-o)([\s=]|$)|-XPUT|>")
READS = re.compile(
    r"^(dig |curl |meshctl "
    r"(members|info|rtt|catalog \w+|kv (get|list|export)|session (list|read)"
    r"|query (list|get|execute|explain)"
    r"|connect ca (roots|rotate status)|intention report"
    r"|snapshot inspect|history|diff|maint|proxy (list|status)"
    r"|operator (usage|\S+ (state|health|status|list-peers))))"
)
"""Commands that may be repeated until they show what the page says."""


class Page:
    """A page being tried: a node of its own whose ports pass for the usual ones, and a folder."""

    def __init__(self, node: DevNode, folder: Path) -> None:
        self.node, self.folder = node, folder
        usual = [*node.real, *SERVICES]
        real = [*node.real.values(), *free_ports(ADDRESS, len(SERVICES))]
        self.real = dict(zip(map(str, usual), map(str, real), strict=True))
        self.usual = {there: here for here, there in self.real.items()}
        self.shell = Shell(folder, self._environment())

    def here(self, text: str) -> str:
        """The page's words with the real ports."""
        return _exchange(self.real, text)

    def run(self, command: str) -> tuple[int, list[str]]:
        """The exit code, and the lines printed with the page's ports."""
        code, lines = self.shell.run(self.here(command))
        return code, [_exchange(self.usual, line) for line in lines]

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        plain = {"TERM": "dumb", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": path}
        # As on a terminal, curl shows no progress.
        (self.node.folder / ".curlrc").write_text("no-progress-meter\n")
        own = {"MESH_HTTP_ADDR": self.node.address, "CURL_HOME": str(self.node.folder)}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CONSUL_", "MESH_"))}
        return kept | plain | own


def _exchange(ports: dict[str, str], text: str) -> str:
    found = re.compile(rf"(?<![\w.])({'|'.join(ports)})(?![\w])")
    return found.sub(lambda match: ports[match[1]], text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of(page: Path, tmp_path: Path) -> None:
    if missing := [name for name in ("bash", "curl", "dig") if shutil.which(name) is None]:
        pytest.fail(f"the examples need {', '.join(missing)}")
    work = tmp_path / "work"
    work.mkdir()
    with dev_node(tmp_path) as node:
        tried = Page(node, work)
        try:
            for step in pages.steps(page.read_text()):
                where = f"{page.relative_to(TOP)}, line {step.line}"
                if isinstance(step, pages.File):
                    (work / step.name).write_text(tried.here(step.text))
                elif isinstance(step, pages.Program):
                    _run_program(tried, step, where)
                else:
                    _run_command(tried, step, where)
        finally:
            tried.shell.close()


def _run_program(tried: Page, program: pages.Program, where: str) -> None:
    code, printed = tried.run(f"{sys.executable} - <<'END OF IT'\n{program.text}END OF IT")
    told = "\n".join(printed)
    assert code == 0, f"{where}:\n{program.text}\nended with code {code}:\n{told}"
    if program.expected is not None and not pages.matches(program.expected, printed):
        pytest.fail(f"{where}:\n{pages.difference(program.expected, printed)}")


def _run_command(tried: Page, command: pages.Command, where: str) -> None:
    until = time.monotonic() + SETTLE_SECONDS
    again = READS.match(command.text) and not WRITES.search(command.text)
    while True:
        code, printed = tried.run(command.text)
        # A command that fails has to say why, and the page to show it.
        if pages.matches(command.expected, printed) and (code == 0 or command.expected):
            return
        if not again or time.monotonic() > until:
            break
        time.sleep(0.1)
    told = pages.difference(command.expected, printed) or "\n".join(printed)
    pytest.fail(f"{where}: $ {command.text}\nended with code {code}\n{told}")


GENERATED = {"api", "cli", "config"}
"""Made from the code, whose own tests try the examples."""


@pytest.mark.parametrize(
    "page", [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))], ids=lambda page: page.stem
)
def test_commands_are_run_or_it_is_said_why_not(page: Path) -> None:
    if page.stem not in GENERATED:
        lines = pages.unproven(page.read_text())
        assert not lines, f"```console, or a line <!-- not run: why --> before; lines {lines}"


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
