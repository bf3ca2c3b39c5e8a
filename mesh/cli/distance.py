"""meshctl rtt and reachability: how far nodes are from each other, and who can be reached."""

from __future__ import annotations

from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.flags import Argument, Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.client.shapes import Coord
from mesh.durations import parse_duration
from mesh.errors import Invalid, NotFound
from mesh.gossip.vivaldi import Coordinate, estimate


def rtt(invocation: Invocation) -> int:
    """Estimate the round trip between two nodes."""
    parsed = invocation.parsed
    wan, names = parsed.switch("wan"), list(parsed.arguments)
    if len(names) == 1:
        names.append(_here(invocation, wan=wan))
    places = _wan(invocation) if wan else {}
    found = [places.get(name) if wan else _lan(invocation, name) for name in names]
    for name, coord in zip(names, found, strict=True):
        if coord is None:
            raise NotFound(f'there is no coordinate of "{name}" in the {_pool(wan)} pool')
    one, other = (_point(coord) for coord in found if coord is not None)
    milliseconds = estimate(one, other) * 1000
    first, second = names
    invocation.out.done(
        f"Estimated {first} <-> {second} rtt: {milliseconds:.3f} ms "
        f"(using {_pool(wan)} coordinates)",
        Node1=first,
        Node2=second,
        Milliseconds=round(milliseconds, 3),
        Pool=_pool(wan),
    )
    return OK


def _pool(wan: bool) -> str:
    return "WAN" if wan else "LAN"


def _here(invocation: Invocation, *, wan: bool) -> str:
    config = invocation.client.agent.about().config
    return f"{config.node_name}.{config.datacenter}" if wan else config.node_name


def _lan(invocation: Invocation, name: str) -> Coord | None:
    found = invocation.client.coordinate.node(name).value
    return found.coord if found is not None else None


def _wan(invocation: Invocation) -> dict[str, Coord]:
    found = {}
    for one in invocation.client.coordinate.datacenters():
        for server in one.coordinates:
            full = server.node if "." in server.node else f"{server.node}.{one.datacenter}"
            found[full] = server.coord
    return found


def _point(coord: Coord) -> Coordinate:
    return Coordinate(coord.vec, coord.error, coord.adjustment, coord.height)


def reachability(invocation: Invocation) -> int:
    """Ask every member and show who did not answer."""
    parsed, out = invocation.parsed, invocation.out
    text = parsed.text("wait")
    try:
        seconds = parse_duration(text) if text else 0.0
    except Invalid as error:
        raise Usage(f"--wait: {error.message}") from error
    found = invocation.client.agent.reachability(
        wait_seconds=seconds, relay_factor=parsed.number("relay-factor") or 0
    )
    heard, lost = len(found.acknowledged), len(found.missing)
    rows = [(name, "missing") for name in found.missing]
    rows += [(name, "stranger") for name in found.strangers]
    if out.as_json:
        out.json(found)
    elif rows:
        out.table(found, ("Node", "Answer"), rows)
    if not rows:
        out.note(f"All {heard} members acknowledged.")
        return OK
    out.note(f"{heard} of {heard + lost} members acknowledged what {found.node} asked.")
    for line in found.advice:
        out.note(f"- {line}")
    return FAILED


COMMANDS = {
    "rtt": Command(
        rtt,
        about="Estimate the round trip between two nodes from their network coordinates, without\n"
        "sending anything between them. With one name, the other is the agent's node.",
        examples=(
            Example("rtt web-1 db-1", "Between two nodes"),
            Example("rtt web-1", "Between a node and the agent's"),
            Example("rtt --wan s1.dc1 s1.dc2", "Between servers of two datacenters"),
        ),
        arguments=(Argument("NODE"), Argument("NODE2", required=False)),
        flags=(Flag("wan", "of servers, named NODE.DATACENTER", "switch"),),
        exits=("1: one of them has no coordinate",),
    ),
    "reachability": Command(
        reachability,
        about="Ask every member of the pool for an acknowledgement and show who did not answer,\n"
        "with advice. The question spreads by gossip; answers come straight to the agent.",
        examples=(
            Example("reachability", "Who does not answer"),
            Example("reachability --wait 10s", "Give slow members more time"),
        ),
        flags=(
            Flag("wait", "how long to wait for answers at most, up to 60s", value="DURATION"),
            Flag("relay-factor", "members that carry each answer too, 0 to 5", "number"),
        ),
        exits=("1: a member did not answer, or one did that should not",),
    ),
}
