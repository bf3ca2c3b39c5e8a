"""A command as a value: its flags, arguments, help and what runs it; and reading its words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from mesh.cli.flags import FORMAT, HELP, HTTP_FLAGS, Argument, Flag, Parsed, Usage

if TYPE_CHECKING:
    from mesh.cli.invocation import Invocation

TRUE = {"1", "t", "true", "yes", "on"}
FALSE = {"0", "f", "false", "no", "off"}

OK = 0
FAILED = 1
WRONG_USE = 2


class Example(NamedTuple):
    """A command line, without the program's name, and what it does."""

    line: str
    about: str


class Command(NamedTuple):
    """What `meshctl NAME` does. Its name and its summary stand in `main.COMMANDS`."""

    run: Callable[[Invocation], int]
    about: str
    examples: tuple[Example, ...]
    arguments: tuple[Argument, ...] = ()
    flags: tuple[Flag, ...] = ()
    exits: tuple[str, ...] = ()
    """Exit codes with another meaning than usual, as `2: nothing matches`."""
    asks_agent: bool = True
    passes_on: bool = False
    """From the first argument on, all words are arguments: they are another program's."""


def all_flags(command: Command) -> tuple[Flag, ...]:
    """The command's own flags, then those that many have."""
    return (*command.flags, FORMAT, *(HTTP_FLAGS if command.asks_agent else ()), HELP)


def parse(name: str, command: Command, words: Iterable[str]) -> Parsed:
    """Sort the words after the command's name. Raises Usage, with what was meant perhaps."""
    flags = {flag.name: flag for flag in all_flags(command)}
    found = Parsed([], {flag: [] for flag in flags})
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            found.arguments.extend(rest)
            break
        if not is_flag(word):
            found.arguments.append(word)
            if command.passes_on:
                found.arguments.extend(rest)
                break
            continue
        flag, value = _split(name, word, flags)
        if value is None:
            value = _value_for(flag, rest)
        found.given[flag.name].append(_checked(flag, value))
    if not found.switch("help"):
        _check_arguments(name, command, found.arguments)
    return found


def is_flag(word: str) -> bool:
    """`-x` and `--x` are flags; `-` and negative numbers are not."""
    return re.match(r"-[^\d]", word) is not None


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """` Did you mean "..."?` when something known is like the word, else nothing."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f' Did you mean "{prefix}{close[0]}"?' if close else ""


def _split(name: str, word: str, flags: dict[str, Flag]) -> tuple[Flag, str | None]:
    bare, found, value = word.lstrip("-").partition("=")
    bare = {"h": "help"}.get(bare, bare)
    flag = flags.get(bare)
    if flag is None:
        hint = did_you_mean(bare, flags, "--")
        raise Usage(f'{name} has no flag "{word}".{hint} "meshctl {name} --help" shows all.')
    return flag, value if found else None


def _value_for(flag: Flag, rest: list[str]) -> str:
    if flag.kind == "switch":
        return "true"
    if not rest:
        raise Usage(f"--{flag.name} needs a value: {flag.about}")
    return rest.pop(0)


def _checked(flag: Flag, value: str) -> str:
    if flag.kind == "switch":
        if value.lower() not in TRUE | FALSE:
            raise Usage(f'--{flag.name}: expected true or false, got "{value}"')
        return "true" if value.lower() in TRUE else "false"
    if flag.kind == "number" and not (value.isascii() and value.isdigit()):
        raise Usage(f'--{flag.name}: expected a whole number, got "{value}"')
    if flag.choices and value not in flag.choices:
        hint = did_you_mean(value, flag.choices)
        raise Usage(
            f'--{flag.name}: expected one of {", ".join(flag.choices)}, got "{value}".{hint}'
        )
    return value


def _check_arguments(name: str, command: Command, arguments: Sequence[str]) -> None:
    wanted = command.arguments
    needed = [argument for argument in wanted if argument.required]
    if len(arguments) < len(needed):
        missing = needed[len(arguments)].name
        raise Usage(f"{name} needs {missing}. Usage: {usage_line(name, command)}")
    if len(arguments) > len(wanted) and not (wanted and wanted[-1].many):
        extra = arguments[len(wanted)]
        raise Usage(f'{name} does not take "{extra}". Usage: {usage_line(name, command)}')
    for argument, word in zip(wanted, arguments, strict=False):
        if argument.choices and word not in argument.choices:
            hint = did_you_mean(word, argument.choices)
            known = ", ".join(argument.choices)
            raise Usage(f'{argument.name}: expected one of {known}, got "{word}".{hint}')
        if argument.filled and not word:
            raise Usage(f"{name}: {argument.name} is empty. Usage: {usage_line(name, command)}")


def usage_line(name: str, command: Command) -> str:
    """`meshctl NAME [flags] ARGUMENTS`."""
    words = ["meshctl", name, "[flags]", *(argument.spelling for argument in command.arguments)]
    return " ".join(words)
