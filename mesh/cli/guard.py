"""meshctl guard: what the mass-failure guard and flap damping do, and how to end a freeze."""

from __future__ import annotations

from mesh.cli.command import OK, Command, Example
from mesh.cli.invocation import Invocation
from mesh.cli.members import frozen_in_words

SHOWN_MAX = 20


def status(invocation: Invocation) -> int:
    """Say what is frozen and who is damped."""
    guard = invocation.client.agent.guard()
    if guard.frozen:
        more = ["..."] if len(guard.members) > SHOWN_MAX else []
        kept = ", ".join([*guard.members[:SHOWN_MAX], *more])
        lines = [*frozen_in_words(guard).splitlines(), f"Kept: {kept}."]
    else:
        lines = [f"Nothing is frozen. Rule: {guard.rule}."]
    for one in guard.damped:
        lines.append(f"{one.name} is damped until {one.until} (penalty {one.penalty:.1f}).")
    invocation.out.lines(guard, lines)
    return OK


def release(invocation: Invocation) -> int:
    """End a freeze."""
    released = invocation.client.agent.release_guard()
    message = "Removals are no longer frozen." if released else "Nothing was frozen."
    invocation.out.done(message, Released=released)
    return OK


COMMANDS = {
    "guard status": Command(
        status,
        about="Show whether removals from discovery are frozen, since when, by which rule and\n"
        "until when, and which members are left out for failing again and again.",
        examples=(
            Example("guard status", "In words"),
            Example("guard status --format json", "For a script"),
        ),
    ),
    "guard release": Command(
        release,
        about="End a freeze of removals from discovery: members that are still missing leave it\n"
        "at once. For when many machines are really gone.",
        examples=(Example("guard release", "Believe that they are gone"),),
    ),
}
