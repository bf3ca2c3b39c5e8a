"""meshctl event: tell something to all agents."""

from __future__ import annotations

from mesh.cli.command import OK, Command, Example
from mesh.cli.flags import DATACENTER, Argument, Flag, Usage
from mesh.cli.invocation import Invocation

FILTERS = (
    Flag("node", "only agents whose node's name matches", value="REGEX"),
    Flag("service", "only agents with a service whose id matches", value="REGEX"),
    Flag("tag", "and that has a tag which matches", value="REGEX"),
)


def event(invocation: Invocation) -> int:
    """Fire the event."""
    parsed = invocation.parsed
    name = parsed.text("name")
    if not name:
        raise Usage("event needs --name: what the event is called")
    payload = parsed.arguments[0] if parsed.arguments else ""
    fired = invocation.client.event.fire(
        name,
        payload.encode("utf-8", "surrogateescape"),
        node=parsed.text("node"),
        service=parsed.text("service"),
        tag=parsed.text("tag"),
        datacenter=parsed.text("datacenter"),
    )
    invocation.out.done(f"Event ID: {fired.id}", ID=fired.id, Name=fired.name, LTime=fired.l_time)
    return OK


COMMANDS = {
    "event": Command(
        event,
        about="Tell something to all agents, or to those that the filters let through: RE2\n"
        "expressions that look anywhere in a name. Watches of type event are run. Name, payload\n"
        "and filters together may take some 450 bytes; what is larger belongs into a key.",
        examples=(
            Example("event --name deploy 1.4.2", "Everybody hears deploy with this payload"),
            Example("event --name restart --service ^web", "Only agents that run a web service"),
        ),
        arguments=(Argument("PAYLOAD", required=False),),
        flags=(Flag("name", "what the event is called", value="NAME"), *FILTERS, DATACENTER),
    ),
}
