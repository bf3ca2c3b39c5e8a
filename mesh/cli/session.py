"""meshctl session: create, list, show, renew and destroy sessions."""

from __future__ import annotations

from mesh.cli.command import OK, Command, Example
from mesh.cli.connection import read_options
from mesh.cli.flags import DATACENTER, READ_FLAGS, Argument, Flag, Parsed, Usage
from mesh.cli.invocation import Invocation
from mesh.client.session import Session, Terms
from mesh.durations import format_duration, parse_duration
from mesh.errors import Invalid, NotFound

COLUMNS = ("ID", "Name", "Node", "TTL", "Behavior", "LockDelay", "Checks")


def create(invocation: Invocation) -> int:
    """Begin a session and show its id."""
    parsed = invocation.parsed
    checks = parsed.many("check") or None
    if parsed.switch("no-checks"):
        if checks:
            raise Usage("--no-checks and --check exclude each other")
        checks = []
    terms = Terms(
        name=parsed.text("name"),
        node=parsed.text("node"),
        behavior=parsed.text("behavior"),
        ttl_seconds=_seconds(parsed, "ttl") or 0.0,
        lock_delay_seconds=_seconds(parsed, "lock-delay"),
        node_checks=checks,
        service_checks=parsed.many("service-check"),
    )
    made = invocation.client.session.create(terms, datacenter=parsed.text("datacenter"))
    invocation.out.done(made, ID=made)
    return OK


def _seconds(parsed: Parsed, name: str) -> float | None:
    text = parsed.text(name)
    if not text:
        return None
    try:
        return parse_duration(text)
    except Invalid as error:
        raise Usage(f"--{name}: {error.message}") from error


def listed(invocation: Invocation) -> int:
    """Show all sessions, or those of a node."""
    parsed = invocation.parsed
    options, node = read_options(parsed), parsed.text("node")
    calls = invocation.client.session
    found = (calls.of_node(node, options) if node else calls.listed(options)).value
    invocation.out.table(found, COLUMNS, [_row(one) for one in found])
    return OK


def _row(one: Session) -> list[str]:
    checks = [*one.node_checks, *(check.id for check in one.service_checks)]
    return [
        one.id,
        one.name or "-",
        one.node,
        one.ttl or "-",
        one.behavior,
        format_duration(one.lock_delay_seconds),
        ", ".join(checks) or "-",
    ]


def info(invocation: Invocation) -> int:
    """Show one session."""
    identity = invocation.parsed.arguments[0]
    found = invocation.client.session.info(identity, read_options(invocation.parsed)).value
    if found is None:
        raise NotFound(f"there is no session {identity}, or no more")
    _show(invocation, found)
    return OK


def _show(invocation: Invocation, found: Session) -> None:
    rows = list(zip(COLUMNS, _row(found), strict=True))
    rows.append(("ModifyIndex", str(found.modify_index)))
    invocation.out.fields(found, rows)


def renew(invocation: Invocation) -> int:
    """Begin the TTL anew."""
    parsed = invocation.parsed
    identity = parsed.arguments[0]
    found = invocation.client.session.renew(identity, datacenter=parsed.text("datacenter"))
    if found is None:
        raise NotFound(f"there is no session {identity}, or no more")
    if invocation.out.as_json:
        invocation.out.json(found)
    else:
        left = f"; it is renewed for {found.ttl}" if found.ttl else "; it has no TTL"
        invocation.out.done(f"Session {identity} lives{left}.")
    return OK


def destroy(invocation: Invocation) -> int:
    """End a session, whether it is there or not."""
    parsed = invocation.parsed
    identity = parsed.arguments[0]
    invocation.client.session.destroy(identity, datacenter=parsed.text("datacenter"))
    invocation.out.done(f"Session {identity} is gone.", ID=identity, Destroyed=True)
    return OK


_ID = Argument("SESSION")
_GONE = ("1: there is no such session, or it failed",)

COMMANDS = {
    "session create": Command(
        create,
        about="Begin a session and print its id. It ends with its node, when one of its checks\n"
        "becomes critical, when nobody renews it within its TTL, or when destroyed. What it\n"
        "has locked is then released or deleted.",
        examples=(
            Example("session create --name deploy --ttl 30s", "Must be renewed every 30 seconds"),
            Example("session create --behavior delete --lock-delay 0s", "Its keys go with it"),
            Example("session create --no-checks --ttl 1m", "Bound to nothing but its TTL"),
        ),
        flags=(
            Flag("name", "what it is for", value="NAME"),
            Flag("node", "its node; the agent's own unless told", value="NODE"),
            Flag("ttl", "10s to 24h without renewal end it", value="DURATION"),
            Flag("behavior", "what becomes of its keys", choices=("release", "delete")),
            Flag("lock-delay", "how long its keys stay locked after it (15s)", value="DURATION"),
            Flag("check", "a check of the node; serfHealth unless told", "list", value="ID"),
            Flag("service-check", "a check of a service of the node", "list", value="ID"),
            Flag("no-checks", "no check at all", "switch"),
            DATACENTER,
        ),
    ),
    "session list": Command(
        listed,
        about="List all sessions, or those of one node.",
        examples=(
            Example("session list", "All of them"),
            Example("session list --node web-1", "Those of a node"),
        ),
        flags=(Flag("node", "only sessions of this node", value="NODE"), *READ_FLAGS),
    ),
    "session info": Command(
        info,
        about="Show a session.",
        examples=(Example("session info 3f285449-3ddb-55ec-ad5e-451e7662201d", "Show it"),),
        arguments=(_ID,),
        flags=READ_FLAGS,
        exits=_GONE,
    ),
    "session renew": Command(
        renew,
        about="Begin the TTL of a session anew.",
        examples=(Example("session renew 3f285449-3ddb-55ec-ad5e-451e7662201d", "Once"),),
        arguments=(_ID,),
        flags=(DATACENTER,),
        exits=_GONE,
    ),
    "session destroy": Command(
        destroy,
        about="End a session. Keys that it has locked are released or deleted, and nobody can\n"
        "lock them for its lock-delay.",
        examples=(Example("session destroy 3f285449-3ddb-55ec-ad5e-451e7662201d", "End it"),),
        arguments=(_ID,),
        flags=(DATACENTER,),
    ),
}
