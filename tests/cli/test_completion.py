import shutil
import subprocess

import pytest

from mesh.cli import completion, main

BASH = shutil.which("bash")


def complete(*words: str) -> list[str]:
    """What bash offers for the last word."""
    assert BASH
    script = completion.bash(completion.offers())
    quoted = " ".join(f"'{word}'" for word in words)
    ask = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _meshctl"
    show = 'printf "%s\\n" "${COMPREPLY[@]}"'
    command = [BASH, "--norc", "-euc", f"{script}\n{ask}\n{show}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_bash() -> None:
    assert set(complete("meshctl", "")) == {name.split()[0] for name in main.COMMANDS} | {"help"}
    assert complete("meshctl", "memb") == ["members"]
    every = ["get", "put", "delete", "export", "import", "list"]
    assert complete("meshctl", "kv", "") == every
    assert complete("meshctl", "kv", "get", "--re") == ["--recurse"]
    assert complete("meshctl", "kv", "get", "--stale", "a", "--ke") == ["--keys"]
    assert complete("meshctl", "completion", "z") == ["zsh"]
    assert complete("meshctl", "nonsense", "vers") == ["version"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_their_script(shell: str) -> None:
    script = completion.SCRIPTS[shell](completion.offers())
    assert "force-leave" in script
    if program := shutil.which(shell):
        subprocess.run([program, "-n", "-c", script], check=True, timeout=60)
