"""The examples of a documentation page, and whether what came out is what the page shows.

A page has examples in fenced blocks:

- ```` ```console ````: lines beginning with `$ ` are commands, `> ` goes on with the one before (as
  a trailing backslash does); what follows is the output, with `...` for anything within a line
  and a line of only `...` for any number of lines; white space of any width is the same. Without
  output the command has to be silent.
- ```` ```python ````: a program; a block ```` ```text ```` right after it is its output.
- ```` ```hcl web.hcl ````: any language with a second word: a file of this name for what follows.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^(?P<indent> *)(?P<mark>```+|~~~+) *(?P<info>.*)$")
ANYTHING = "..."
PROMPT, MORE = "$ ", "> "


class Block(NamedTuple):
    """What stands between two fences."""

    language: str
    name: str
    """The second word behind the opening fence: a file's name."""
    line: int
    """Where its text begins, counted from 1."""
    lines: list[str]
    follows: bool
    """Whether only empty lines stand between it and the block before."""


class Command(NamedTuple):
    """Something to run in the shell, and what the page says comes out."""

    line: int
    text: str
    expected: list[str]


class Program(NamedTuple):
    """A Python program, and what the page says it prints; None when the page does not say."""

    line: int
    text: str
    expected: list[str] | None


class File(NamedTuple):
    """A file that the page shows and its commands use."""

    line: int
    name: str
    text: str


Step = Command | Program | File


def blocks(text: str) -> list[Block]:
    """The fenced blocks, in order."""
    found: list[Block] = []
    opened: re.Match[str] | None = None
    body: list[str] = []
    begin, quiet = 0, False
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None:
            if fence is None:
                quiet = quiet and not line.strip()
                continue
            opened, body, begin = fence, [], number + 1
        elif fence and fence["mark"].startswith(opened["mark"]) and not fence["info"]:
            language, _, name = opened["info"].strip().partition(" ")
            found.append(Block(language, name.strip(), begin, body, quiet))
            opened, quiet = None, True
        else:
            body.append(line.removeprefix(opened["indent"]))
    assert opened is None, f"line {begin - 1}: this block never ends"
    return found


def steps(text: str) -> list[Step]:
    """What to do with a page, in order."""
    found: list[Step] = []
    for block in blocks(text):
        if block.language == "console":
            found += _commands(block)
        elif block.name:
            found.append(File(block.line, block.name, "\n".join(block.lines) + "\n"))
        elif block.language == "python":
            found.append(Program(block.line, "\n".join(block.lines) + "\n", None))
        elif block.language == "text" and block.follows and found:
            last = found[-1]
            if isinstance(last, Program) and last.expected is None:
                found[-1] = last._replace(expected=block.lines)
    return found


def _commands(block: Block) -> list[Command]:
    found: list[Command] = []
    for number, line in enumerate(block.lines, block.line):
        last = found[-1] if found else None
        if line.startswith(PROMPT):
            found.append(Command(number, line.removeprefix(PROMPT), []))
        elif last and not last.expected and _goes_on(last, line):
            rest = line.removeprefix(MORE) if line.startswith(MORE) else line
            found[-1] = last._replace(text=f"{last.text}\n{rest}")
        elif last:
            last.expected.append(line)
        else:
            raise AssertionError(f'line {number}: a console block begins with "{PROMPT}COMMAND"')
    return found


def _goes_on(command: Command, line: str) -> bool:
    return line.startswith(MORE) or line == MORE.strip() or command.text.endswith("\\")


SHELL = re.compile(r"^(\$ |meshctl |meshd |curl |dig |\./dev )")
EXCUSE = re.compile(r"^<!-- not run: .+ -->$")


def unproven(text: str) -> list[int]:
    """The lines of blocks with commands that nobody runs and that do not say why."""
    lines, found = text.splitlines(), []
    for block in blocks(text):
        if block.language in {"console", "python"} or not block.lines:
            continue
        before = [line for line in lines[: block.line - 2] if line.strip()]
        excused = bool(before) and EXCUSE.match(before[-1]) is not None
        if SHELL.match(block.lines[0]) and not excused:
            found.append(block.line)
    return found


def matches(expected: list[str], printed: list[str]) -> bool:
    """Whether these lines are those, with `...` for anything."""
    wanted = "".join(
        r"(?:[^\n]*\n)*?" if line.strip() == ANYTHING else f"{_line(line)}\n"
        for line in _shorn(expected)
    )
    return re.fullmatch(wanted, "".join(f"{line}\n" for line in _shorn(printed))) is not None


def _line(line: str) -> str:
    return r"[^\n]*".join(map(re.escape, line.split(ANYTHING)))


def _shorn(lines: list[str]) -> list[str]:
    """Without empty lines at the end, and white space of one width.

    How far apart columns stand depends on what else is in them.
    """
    found = [" ".join(re.split(r"[ \t]+", line.rstrip())) for line in lines]
    while found and not found[-1]:
        found.pop()
    return found


def difference(expected: list[str], printed: list[str]) -> str:
    """Line by line, for a person."""
    found = difflib.unified_diff(
        _shorn(expected), _shorn(printed), "the page", "what came out", lineterm=""
    )
    return "\n".join(found)


def pages(top: Path) -> list[Path]:
    """Every page with examples that can be run."""
    found = [top / "README.md", *sorted((top / "docs").glob("*.md"))]
    return [page for page in found if steps(page.read_text())]
