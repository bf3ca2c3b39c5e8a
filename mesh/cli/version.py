"""meshctl version: the version of this program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh import __version__
from mesh.cli.command import OK, Command, Example

if TYPE_CHECKING:
    from mesh.cli.invocation import Invocation


def version(invocation: Invocation) -> int:
    """Show the version of this program."""
    invocation.out.done(f"mesh v{__version__}", Version=__version__)
    return OK


COMMANDS = {
    "version": Command(
        version,
        about='Show the version of meshctl. "meshctl members" shows that of every node.',
        examples=(
            Example("version", "Show the version"),
            Example("version --format json", "For a script"),
        ),
        asks_agent=False,
    ),
}
