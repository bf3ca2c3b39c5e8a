"""meshctl operator: what became of a request, and the cluster's feature level."""

from __future__ import annotations

import json

from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.flags import Argument, Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.client.shapes import Outcome, Upgrade


def request(invocation: Invocation) -> int:
    """Show what became of a request; with --cancel see to it that it is not applied any more."""
    parsed = invocation.parsed
    key, since = parsed.arguments[0], parsed.number("since")
    if not parsed.switch("cancel"):
        found = invocation.client.operator.request(key, since)
    elif since is None:
        raise Usage("--cancel needs --since: a log index known before the request was made")
    else:
        found = invocation.client.operator.cancel(key, since)
    _show(invocation, found)
    return FAILED if found.status == "unknown" else OK


def _show(invocation: Invocation, found: Outcome) -> None:
    pairs = [("Request", found.request), ("Status", found.status)]
    if found.index:
        pairs.append(("Index", str(found.index)))
    if found.status == "applied":
        pairs.append(("Result", json.dumps(found.value)))
    if found.error is not None:
        pairs.append(("Error", found.error.message))
    invocation.out.fields(found, [*pairs, ("Meaning", found.meaning)])


def upgrade(invocation: Invocation) -> int:
    """Show the feature level, or raise it."""
    operator = invocation.client.operator
    if invocation.parsed.arguments[0] == "finalize":
        after = operator.finalize()
        invocation.out.done(f"The feature level is {after.level}.", Level=after.level)
        return OK
    _show_levels(invocation, operator.upgrade())
    return OK


def _show_levels(invocation: Invocation, found: Upgrade) -> None:
    out = invocation.out
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


COMMANDS = {
    "operator request": Command(
        request,
        about="Ask what became of the write with this Idempotency-Key, as an error that said its\n"
        "outcome is unknown named it. What is not remembered any more is unknown, unless\n"
        "--since, from the same error, shows that it cannot have been forgotten.",
        examples=(
            Example("operator request --since 812 order-17", "Was it applied?"),
            Example("operator request --since 812 --cancel order-17", "If not, then never"),
        ),
        arguments=(Argument("KEY"),),
        flags=(
            Flag("since", "a log index known before the request was made", "number"),
            Flag("cancel", "make sure that it is not applied any more", "switch"),
        ),
        exits=("1: it is unknown, or it failed",),
    ),
    "operator upgrade": Command(
        upgrade,
        about="Show which feature level the cluster writes and which ones its servers speak, or\n"
        "raise the level when every server speaks the next. Until then every server can go back\n"
        "to the program it came from; afterwards older programs refuse to start.",
        examples=(
            Example("operator upgrade status", "Who speaks what"),
            Example("operator upgrade finalize", "Raise the level, for good"),
        ),
        arguments=(Argument("status|finalize", choices=("status", "finalize")),),
    ),
}
