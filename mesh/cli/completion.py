"""meshctl completion: scripts for bash, zsh and fish, made of the command table."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.cli import main
from mesh.cli.command import OK, Command, Example, all_flags
from mesh.cli.flags import Argument
from mesh.cli.invocation import Invocation

SHELLS = ("bash", "zsh", "fish")

# The words before the cursor that are not flags, as far as they are a command, choose the words
# offered. `{cases}` is one line a command: what to offer after it.
BASH = """\
# meshctl completion for bash: source <(meshctl completion bash)
_meshctl_offer() {{
  case "$1" in
{cases}
  esac
}}
_meshctl() {{
  local word path="" offered
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case " {paths} " in
      *" ${{path:+$path/}}$word "*) path="${{path:+$path/}}$word" ;;
    esac
  done
  offered="$(_meshctl_offer "$path")"
  COMPREPLY=($(compgen -W "$offered" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _meshctl meshctl
"""
ZSH = """\
#compdef meshctl
# meshctl completion for zsh: source <(meshctl completion zsh)
_meshctl_offer() {{
  case "$1" in
{cases}
  esac
}}
_meshctl() {{
  local word path_now=""
  for word in "${{(@)words[2,CURRENT-1]}}"; do
    case " {paths} " in
      *" ${{path_now:+$path_now/}}$word "*) path_now="${{path_now:+$path_now/}}$word" ;;
    esac
  done
  compadd -- ${{(z)"$(_meshctl_offer "$path_now")"}}
  _files
}}
compdef _meshctl meshctl
"""
FISH = """\
# meshctl completion for fish: meshctl completion fish | source
function __meshctl_at
  set -l path
  for word in (commandline -opc)[2..]
    contains -- (string join / $path $word) {paths}; and set -a path $word
  end
  test (string join / $path) = "$argv[1]"
end
{cases}
"""


def completion(invocation: Invocation) -> int:
    """Print the script."""
    shell = invocation.parsed.arguments[0]
    script = SCRIPTS[shell](offers())
    invocation.out.lines({"Shell": shell, "Script": script}, script.splitlines())
    return OK


def offers() -> dict[str, list[str]]:
    """What may follow each command or group, by its words joined with slashes."""
    found: dict[str, list[str]] = {"": ["help"]}
    for name in main.COMMANDS:
        words = name.split()
        for depth, word in enumerate(words):
            before = "/".join(words[:depth])
            following = found.setdefault(before, [])
            if word not in following:
                following.append(word)
        command = main.find(name)
        known = [word for argument in command.arguments for word in argument.choices]
        flags = [f"--{flag.name}" for flag in all_flags(command)]
        found["/".join(words)] = known + flags
    return found


def _posix(template: str, offered: Mapping[str, list[str]]) -> str:
    cases = [f'    "{path}") echo "{" ".join(words)}" ;;' for path, words in offered.items()]
    paths = " ".join(path for path in offered if path)
    return template.format(cases="\n".join(cases), paths=paths)


def bash(offered: Mapping[str, list[str]]) -> str:
    """A script for bash 3.2 or later."""
    return _posix(BASH, offered)


def zsh(offered: Mapping[str, list[str]]) -> str:
    """A script for zsh."""
    return _posix(ZSH, offered)


def fish(offered: Mapping[str, list[str]]) -> str:
    """A script for fish."""
    cases = []
    for path, words in offered.items():
        names = " ".join(word for word in words if not word.startswith("--"))
        if names:
            cases.append(f"complete -c meshctl -n '__meshctl_at \"{path}\"' -a '{names}'")
        cases += [
            f"complete -c meshctl -n '__meshctl_at \"{path}\"' -l {word.removeprefix('--')}"
            for word in words
            if word.startswith("--")
        ]
    return FISH.format(cases="\n".join(cases), paths=" ".join(path for path in offered if path))


SCRIPTS = {"bash": bash, "zsh": zsh, "fish": fish}

COMMANDS = {
    "completion": Command(
        completion,
        about="Print a script that completes the commands and flags of meshctl in your shell.",
        examples=(
            Example("completion bash > /etc/bash_completion.d/meshctl", "For everybody, bash"),
            Example("completion zsh > ~/.zfunc/_meshctl", "zsh, with ~/.zfunc in fpath"),
            Example("completion fish > ~/.config/fish/completions/meshctl.fish", "fish"),
        ),
        arguments=(Argument("SHELL", choices=SHELLS),),
        asks_agent=False,
    ),
}
