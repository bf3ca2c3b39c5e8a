"""meshctl operator upgrade: the cluster's feature level."""

from __future__ import annotations

from mesh.cli.command import OK, Command, Example
from mesh.cli.invocation import Invocation


def status(invocation: Invocation) -> int:
    """Show the feature level, and who speaks what."""
    found, out = invocation.client.operator.upgrade(), invocation.out
    rows = [(one.name, one.status, f"{one.level_min} to {one.level_max}") for one in found.servers]
    out.table(found, ("Server", "Status", "Levels"), rows)
    if found.level >= found.level_max:
        out.note(f"The feature level is {found.level}, the highest that these servers speak.")
    elif found.waiting_for:
        missing = ", ".join(found.waiting_for)
        out.note(
            f"The feature level is {found.level}. Level {found.level + 1} waits for {missing}."
        )
    else:
        out.note(
            f"The feature level is {found.level}. Every server speaks {found.level + 1}: "
            "meshctl operator upgrade finalize raises it, and then there is no way back."
        )
    return OK


def finalize(invocation: Invocation) -> int:
    """Raise the feature level."""
    after = invocation.client.operator.finalize()
    invocation.out.done(f"The feature level is {after.level}.", Level=after.level)
    return OK


COMMANDS = {
    "operator upgrade status": Command(
        status,
        about="Show which feature level the cluster writes and which ones its servers speak.\n"
        "Until it is raised every server can go back to the program it came from.",
        examples=(Example("operator upgrade status", "Who speaks what"),),
    ),
    "operator upgrade finalize": Command(
        finalize,
        about="Raise the feature level, for good: programs that do not speak it refuse to start.\n"
        "Refused while a server that has not left does not speak the next one.",
        examples=(Example("operator upgrade finalize", "Raise the level"),),
    ),
}
