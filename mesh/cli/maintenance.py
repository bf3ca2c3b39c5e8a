"""meshctl maint: take nodes and services out of service and back, here or for the whole cluster."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from typing import NamedTuple

from mesh.cli.command import OK, Command, Example
from mesh.cli.flags import Flag, Parsed, Usage
from mesh.cli.invocation import Invocation
from mesh.client.shapes import Check
from mesh.durations import parse_duration
from mesh.errors import Invalid, MeshError

NODE = "_node_maintenance"
SERVICE = "_service_maintenance:"
COLUMNS = ("Scope", "What", "Reason", "Owner", "Until")
FOREVER = "ended by hand"


class Target(NamedTuple):
    """What to take out for the whole cluster."""

    node: str = ""
    service_id: str = ""
    service: str = ""

    def __str__(self) -> str:
        if self.service:
            return f"service {self.service}"
        return f"{self.service_id} on {self.node}" if self.service_id else f"node {self.node}"


def maint(invocation: Invocation) -> int:
    """Take out, put back, or list."""
    parsed = invocation.parsed
    enable, disable = parsed.switch("enable"), parsed.switch("disable")
    if enable and disable:
        raise Usage("maint: --enable and --disable exclude each other")
    wide = parsed.switch("cluster") or bool(parsed.text("node"))
    _check(parsed, wide=wide, enable=enable, disable=disable)
    if not (enable or disable):
        return _list(invocation)
    if wide:
        return _cluster(invocation, enable=enable)
    return _local(invocation, enable=enable)


def _check(parsed: Parsed, *, wide: bool, enable: bool, disable: bool) -> None:
    given = [name for name in ("reason", "for", "owner") if parsed.text(name)]
    if given and not enable:
        raise Usage(f"maint: --{given[0]} goes with --enable")
    if not (enable or disable) and (wide or parsed.text("service")):
        raise Usage("maint: say --enable or --disable; without flags it lists")
    only_wide = [name for name in ("for", "owner") if parsed.text(name)]
    if only_wide and not wide:
        raise Usage(
            f"maint: --{only_wide[0]} goes with --node or --cluster: what an agent keeps itself "
            "has neither an owner nor an end"
        )


def _local(invocation: Invocation, *, enable: bool) -> int:
    parsed = invocation.parsed
    service = parsed.text("service")
    agent = invocation.client.agent
    agent.maintenance(enable=enable, reason=parsed.text("reason"), service_id=service)
    what = f"Service {service}" if service else "This node"
    said = "is in maintenance" if enable else "is no longer in maintenance"
    invocation.out.done(f"{what} {said}.", Service=service, Enabled=enable)
    return OK


def _cluster(invocation: Invocation, *, enable: bool) -> int:
    parsed, client, out = invocation.parsed, invocation.client, invocation.out
    target = _target(invocation)
    if not enable:
        ended = client.maintenance.end(**target._asdict())
        said = "is no longer in maintenance" if ended else "was not in maintenance"
        out.done(f"{_capital(target)} {said}.", **_facts(target), Ended=ended)
        return OK
    begun = client.maintenance.begin(
        **target._asdict(),
        reason=parsed.text("reason"),
        owner=parsed.text("owner") or _login(),
        seconds=_seconds(parsed.text("for")),
    )
    if out.as_json:
        out.json(begun)
        return OK
    until = f"until {begun.until}" if begun.until else "until it is ended"
    count = f"{begun.instances} instance{'' if begun.instances == 1 else 's'}"
    out.lines(begun, [f"{_capital(target)} is in maintenance {until} ({count} in the catalog)."])
    if not begun.instances and (target.service or target.service_id):
        out.note("There is no such instance now; whatever is registered so later is in it too.")
    return OK


def _target(invocation: Invocation) -> Target:
    parsed = invocation.parsed
    node, service = parsed.text("node"), parsed.text("service")
    if node:
        return Target(node=node, service_id=service)
    if service:
        return Target(service=service)
    return Target(node=invocation.client.agent.about().config.node_name)


def _capital(target: Target) -> str:
    text = str(target)
    return text if target.service_id else text[0].upper() + text[1:]


def _facts(target: Target) -> dict[str, str]:
    return {"Node": target.node, "ServiceID": target.service_id, "Service": target.service}


def _seconds(text: str) -> float:
    if not text:
        return 0.0
    try:
        seconds = parse_duration(text)
    except Invalid as error:
        raise Usage(f"maint: --for: {error.message}") from error
    if seconds <= 0:
        raise Usage("maint: --for: expected a duration above 0, such as 2h")
    return seconds


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A user that no file knows.
        return ""


def _list(invocation: Invocation) -> int:
    client, out = invocation.client, invocation.out
    local = [check for check in client.agent.checks().values() if _is_local(check)]
    none = "Nothing is in maintenance."
    try:
        wide = client.maintenance.every().value
    except MeshError as error:
        out.note(f"What is in maintenance for the whole cluster is not known: {error.message}")
        wide, none = [], "Nothing of this agent is in maintenance."
    rows: list[Sequence[str]] = [
        ("agent", _named(check), check.notes, "", FOREVER)
        for check in sorted(local, key=lambda check: check.check_id)
    ]
    rows += [
        (
            "cluster",
            str(Target(one.node, one.service_id, one.service)),
            one.reason,
            one.owner,
            one.until or FOREVER,
        )
        for one in wide
    ]
    if not rows and not out.as_json:
        out.lines([], [none])
        return OK
    out.table({"Agent": local, "Cluster": wide}, COLUMNS, rows)
    return OK


def _is_local(check: Check) -> bool:
    return check.check_id == NODE or check.check_id.startswith(SERVICE)


def _named(check: Check) -> str:
    return f"service {check.service_id}" if check.service_id else f"node {check.node}"


COMMANDS = {
    "maint": Command(
        maint,
        about="Take a node or a service out of discovery, and put it back. Without flags, list\n"
        "what is in maintenance and until when.\n\n"
        "Without --node and --cluster it is the agent that keeps it, for itself or one of its\n"
        "services. With them the servers do: that works while the node is down, stays when it\n"
        "comes back, and may end by itself.",
        examples=(
            Example("maint", "What is in maintenance, here and in the cluster"),
            Example("maint --enable --reason 'new disk'", "This agent's node"),
            Example("maint --enable --service web-1", "One of this agent's services, by its id"),
            Example("maint --enable --node n7 --for 2h", "Another node, up or down, for two hours"),
            Example("maint --enable --node n7 --service web-1", "One instance on another node"),
            Example("maint --enable --cluster --service web", "All instances of a service"),
            Example("maint --disable --node n7", "Put it back"),
        ),
        flags=(
            Flag("enable", "take it out", "switch"),
            Flag("disable", "put it back", "switch"),
            Flag("reason", "why, for whoever looks", value="TEXT"),
            Flag(
                "service",
                "an instance by its id; with --cluster alone a service by its name",
                value="ID",
            ),
            Flag("node", "a node, for the whole cluster to see", value="NODE"),
            Flag("cluster", "for the whole cluster: the service, or this agent's node", "switch"),
            Flag("for", "end it after this time, such as 2h", value="TIME"),
            Flag("owner", "who wants it; your login unless told", value="NAME"),
        ),
        exits=("1: there is no such service on this agent, or it failed",),
    ),
}
