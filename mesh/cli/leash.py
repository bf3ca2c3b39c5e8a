"""Runs a command that dies with the process that started it: `leash PARENT_PID COMMAND ...`."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(words: list[str]) -> None:
    """Become the command, unless the parent is gone already. On Linux only it is on a leash."""
    parent, command = int(words[0]), words[1:]
    if sys.platform == "linux":
        # The setting survives exec. The kernel kills us when the parent ends, however it ends.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    # The command is the user's: of meshctl lock, or of the compose file that the demo is to run.
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
