"""Help texts, made of the command table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mesh.cli.command import Command, all_flags, usage_line
from mesh.cli.flags import HTTP_FLAGS, Flag

EXITS = ("0: done", "1: it failed, or what was asked for does not exist", "2: wrong usage")


def exit_lines(command: Command) -> list[str]:
    """What each exit code means, the command's own meanings first."""
    own = {line[0] for line in command.exits}
    return sorted([*command.exits, *(line for line in EXITS if line[0] not in own)])


def overview(summaries: Mapping[str, str], group: str = "") -> str:
    """The commands, or those of one group, a line each."""
    shown = {
        name: about
        for name, about in summaries.items()
        if not group or name.startswith(f"{group} ")
    }
    width = max(map(len, shown))
    lines = [f"Usage: meshctl {group + ' ' if group else ''}COMMAND [flags] [arguments]", ""]
    lines += [f"  {name.ljust(width)}  {about}" for name, about in shown.items()]
    lines += [
        "",
        '"meshctl COMMAND --help" explains one. Flags take one dash or two.',
        "MESH_HTTP_ADDR says which agent to ask; without it, the one at 127.0.0.1:8500.",
    ]
    return "\n".join(lines) + "\n"


def explain(name: str, command: Command) -> str:
    """Everything about one command."""
    lines = [f"Usage: {usage_line(name, command)}", "", command.about, "", "Examples:", ""]
    for example in command.examples:
        lines += [f"  # {example.about}", f"  meshctl {example.line}", ""]
    own = [flag for flag in all_flags(command) if flag not in HTTP_FLAGS]
    lines += ["Flags:", "", *_flag_lines(own)]
    if command.asks_agent:
        lines += ["", "Which agent, and as whom:", "", *_flag_lines(HTTP_FLAGS)]
    lines += ["", "Exit codes:", "", *(f"  {line}" for line in exit_lines(command))]
    return "\n".join(lines) + "\n"


def _flag_lines(flags: Sequence[Flag]) -> list[str]:
    width = max(len(flag.spelling) for flag in flags)
    return [f"  {flag.spelling.ljust(width)}  {_about(flag)}" for flag in flags]


def _about(flag: Flag) -> str:
    return f"{flag.about}; may be repeated" if flag.kind == "list" else flag.about
