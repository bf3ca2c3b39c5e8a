"""meshctl operator request: what became of a write."""

from __future__ import annotations

import json

from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.flags import DATACENTER, Argument, Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.client.shapes import Outcome


def request(invocation: Invocation) -> int:
    """Show what became of a request; with --cancel see to it that it is not applied any more."""
    parsed = invocation.parsed
    key, since = parsed.arguments[0], parsed.number("since")
    datacenter = parsed.text("datacenter")
    if not parsed.switch("cancel"):
        found = invocation.client.operator.request(key, since, datacenter=datacenter)
    elif since is None:
        raise Usage("--cancel needs --since: a log index known before the request was made")
    else:
        found = invocation.client.operator.cancel(key, since, datacenter=datacenter)
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
            DATACENTER,
        ),
        exits=("1: it is unknown, or it failed",),
    ),
}
