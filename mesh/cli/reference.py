"""docs/cli.md, made of the command table: `python -m mesh.cli.reference > docs/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from mesh.cli import main
from mesh.cli.command import Command, usage_line
from mesh.cli.flags import FORMAT, HELP, HTTP_FLAGS, Flag
from mesh.cli.help import exit_lines

INTRODUCTION = """\
# meshctl

The command line of mesh. It speaks with one agent, by default the one at `127.0.0.1:8500`; any
agent or server of the cluster will do. This page is generated: `python -m mesh.cli.reference`.

- Flags take one dash or two, and stand anywhere after the command: `--stale`, `-stale=true`.
- On a terminal lists are tables; in a pipe they are aligned columns; `--format json` gives JSON
  with the names of the HTTP API. `NO_COLOR` turns colours off.
- Errors go to standard error, in words; with `--format json` as
  `{"Error": {"Code": ..., "Message": ..., "Retry": ...}}`.
- Exit codes: 0 done, 1 it failed or what was asked for does not exist, 2 wrong usage. Commands
  with other meanings say so below. Ctrl-C ends with 130.
- `meshctl completion bash|zsh|fish` prints a completion script.

## Which agent, and as whom

| flag | environment | Consul's name, used when that is not set |
| --- | --- | --- |
"""
ENVIRONMENT = {
    "http-addr": "HTTP_ADDR",
    "token": "HTTP_TOKEN",
    "token-file": "HTTP_TOKEN_FILE",
    "ca-file": "CACERT",
    "ca-path": "CAPATH",
    "client-cert": "CLIENT_CERT",
    "client-key": "CLIENT_KEY",
    "tls-server-name": "TLS_SERVER_NAME",
}
WITHOUT_FLAG = ("HTTP_AUTH", "HTTP_SSL", "HTTP_SSL_VERIFY")


def markdown() -> str:
    """The whole page."""
    rows = [(f"`--{flag.name}`", ENVIRONMENT[flag.name]) for flag in HTTP_FLAGS]
    rows += [("", name) for name in WITHOUT_FLAG]
    table = [f"| {flag} | `MESH_{name}` | `CONSUL_{name}` |" for flag, name in rows]
    commands = [_section(name, main.find(name)) for name in main.COMMANDS]
    return INTRODUCTION + "\n".join([*table, "", "## Commands", "", *commands])


def _section(name: str, command: Command) -> str:
    lines = [f"### {name}", "", f"{main.SUMMARIES[name]}. `{usage_line(name, command)}`", ""]
    lines += [command.about, "", "```"]
    for example in command.examples:
        lines += [f"# {example.about}", f"meshctl {example.line}"]
    lines += ["```", ""]
    own = [*command.flags, FORMAT, HELP]
    lines += ["| flag | meaning |", "| --- | --- |", *_flag_rows(own)]
    if command.exits:
        lines += ["", f"Exit codes: {'; '.join(exit_lines(command))}."]
    return "\n".join([*lines, ""])


def _flag_rows(flags: Iterable[Flag]) -> Iterable[str]:
    for flag in flags:
        repeated = "; may be repeated" if flag.kind == "list" else ""
        yield f"| `{flag.spelling}` | {flag.about}{repeated} |"


if __name__ == "__main__":
    sys.stdout.write(markdown())
