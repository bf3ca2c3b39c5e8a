"""meshctl's commands about the agent itself: info, monitor, reload, join, leave, force-leave."""

from __future__ import annotations

from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.flags import Argument, Flag
from mesh.cli.invocation import Invocation
from mesh.client import agent
from mesh.client.agent import Change
from mesh.errors import Internal, MeshError, Unreachable

LEVELS = ("trace", "debug", "info", "warn", "error")


def info(invocation: Invocation) -> int:
    """Show the agent's statistics by group."""
    stats = invocation.client.agent.about().stats
    lines = []
    for group in sorted(stats):
        lines.append(f"{group}:")
        lines += [f"\t{name} = {stats[group][name]}" for name in sorted(stats[group])]
    invocation.out.lines(stats, lines)
    return OK


def monitor(invocation: Invocation) -> int:
    """Copy the agent's log until Ctrl-C, or until the agent ends it."""
    parsed, out = invocation.parsed, invocation.out
    as_json = out.as_json or parsed.switch("log-json")
    level = parsed.text("log-level") or "info"
    try:
        for line in invocation.client.stream(agent.monitor(level, as_json=as_json)):
            out.raw(line)
    except KeyboardInterrupt:
        return OK
    raise Unreachable("the agent ended the log: it stopped, or was restarted")


def reload(invocation: Invocation) -> int:
    """Make the agent read its configuration again, and show what that changed."""
    changed = invocation.client.agent.reload()
    lines = [_told(change) for change in changed if not change.restart]
    waiting = [_told(change) for change in changed if change.restart]
    if waiting:
        lines += ["Not before a restart:", *(f"  {line}" for line in waiting)]
    invocation.out.lines(changed, lines or ["Nothing changed."])
    return OK


def _told(change: Change) -> str:
    subject = change.name if change.what == "option" else f"{change.what} {change.name}"
    if change.action != "changed" or not (change.old or change.new):
        return f"{subject}: {change.action}"
    field = f" {change.field}:" if change.field else ""
    return f"{subject}:{field} {change.old} -> {change.new}"


def join(invocation: Invocation) -> int:
    """Join through each address; all must work."""
    parsed, out = invocation.parsed, invocation.out
    joined, failed = [], {}
    for address in parsed.arguments:
        try:
            invocation.client.agent.join(address, wan=parsed.switch("wan"))
        except (Internal, Unreachable) as error:
            if not _is_about(error, address):
                raise
            failed[address] = error.message
        else:
            joined.append(address)
    for address, reason in failed.items():
        out.note(f"Could not join through {address}: {reason}")
    if joined or out.as_json:
        out.done(f"Joined through {', '.join(joined)}.", Joined=joined, Failed=failed)
    return FAILED if failed else OK


def _is_about(error: MeshError, address: str) -> bool:
    """False when the agent asked could not be reached: then no other address will do better."""
    return isinstance(error, Internal) or address in error.message


def leave(invocation: Invocation) -> int:
    """Make the agent leave and stop."""
    invocation.client.agent.leave()
    invocation.out.done("The agent has left the cluster and stops.", Left=True)
    return OK


def force_leave(invocation: Invocation) -> int:
    """Count a member as left, or forget it."""
    parsed = invocation.parsed
    node = parsed.arguments[0]
    prune = parsed.switch("prune")
    invocation.client.agent.force_leave(node, prune=prune, wan=parsed.switch("wan"))
    message = f"{node} is forgotten." if prune else f"{node} counts as left."
    invocation.out.done(message, Node=node, Pruned=prune)
    return OK


COMMANDS = {
    "join": Command(
        join,
        about="Make the agent join the cluster that a node at ADDRESS belongs to.",
        examples=(
            Example("join 10.0.0.11", "Join through one member"),
            Example("join --wan 10.1.0.11", "Join a server of another datacenter"),
        ),
        arguments=(Argument("ADDRESS", many=True),),
        flags=(Flag("wan", "join the servers of another datacenter", "switch"),),
        exits=("1: one of the addresses could not be joined",),
    ),
    "leave": Command(
        leave,
        about="Make the agent leave the cluster and stop. Its services are removed from the\n"
        "catalog; nobody counts it as failed.",
        examples=(Example("leave", "Before a machine is switched off"),),
    ),
    "force-leave": Command(
        force_leave,
        about="Count a failed member as left, so that nobody tries to reach it any more. A\n"
        "member that is alive comes back by itself.",
        examples=(
            Example("force-leave web-3", "A machine that will not come back"),
            Example("force-leave --prune web-3", "And drop it from the list of members"),
        ),
        arguments=(Argument("NODE"),),
        flags=(
            Flag("prune", "drop it from the list of members", "switch"),
            Flag("wan", "only among the servers of all datacenters", "switch"),
        ),
        exits=("1: there is no such member, or it failed",),
    ),
    "info": Command(
        info,
        about="Show the agent's statistics: consensus, gossip, the process.",
        examples=(
            Example("info", "Everything, by group"),
            Example("info --format json", "For a script"),
        ),
    ),
    "monitor": Command(
        monitor,
        about="Show the agent's log as it is written, until Ctrl-C.",
        examples=(
            Example("monitor", "From info upwards"),
            Example("monitor --log-level debug", "More, whatever the agent itself logs"),
        ),
        flags=(
            Flag("log-level", "the lowest level shown", value="LEVEL", choices=LEVELS),
            Flag("log-json", "a JSON object a line", "switch"),
        ),
        exits=("1: the agent ended the log, or could not be reached",),
    ),
    "reload": Command(
        reload,
        about="Make the agent read its configuration files again, and show what changed, from\n"
        "what to what, and what needs a restart. When the files have an error, nothing\n"
        "changes and every error is shown with its file, its key and what is expected.",
        examples=(Example("reload", "After a change of a service definition"),),
    ),
}
