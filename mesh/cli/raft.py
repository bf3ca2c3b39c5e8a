"""meshctl operator raft: who keeps the log, who votes, who leads, and how the logs fare."""

from __future__ import annotations

from typing import Any

from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.flags import DATACENTER, READ_FLAGS, Flag, Parsed, Usage
from mesh.cli.invocation import Invocation
from mesh.client.shapes import RaftConfiguration, RaftFigures, RaftPeer
from mesh.errors import NotFound

COLUMNS = (
    "Node",
    "ID",
    "Address",
    "State",
    "Voter",
    "RaftProtocol",
    "Commit Index",
    "Trails Leader By",
)
# Heading and figure, as far as a server tells it.
FIGURES = (
    ("Epoch", "Epoch"),
    ("Term", "Term"),
    ("Leader", "Leader"),
    ("Commit", "CommitIndex"),
    ("Applied", "AppliedIndex"),
    ("Snapshot", "SnapshotIndex"),
    ("Last Contact", "LastContact"),
)
SERVER = Flag("id", "the server, by id or name", value="ID")
ADDRESS = Flag("address", "the server, by the address of its server port", value="IP:PORT")


def list_peers(invocation: Invocation) -> int:
    """List voters, then those who follow."""
    parsed = invocation.parsed
    found = invocation.client.operator.raft_configuration(
        stale=parsed.switch("stale"), datacenter=parsed.text("datacenter")
    )
    leader = next((one for one in found.servers if one.leader), None)
    rows = [_row(one, leader, found) for one in found.servers]
    invocation.out.table(found.servers, COLUMNS, rows)
    return OK


def _row(one: RaftPeer, leader: RaftPeer | None, found: RaftConfiguration) -> tuple[str, ...]:
    ahead = leader.last_index if leader is not None else found.commit_index
    behind = max(0, ahead - one.last_index)
    known = one.last_index > 0
    return (
        one.node or "(unknown)",
        one.id,
        one.address,
        "leader" if one.leader else "follower",
        "true" if one.voter else "false",
        one.protocol_version,
        str(one.last_index) if known else "-",
        "-" if one.leader or not known else f"{behind} commits",
    )


def add(invocation: Invocation) -> int:
    """Give a server a vote."""
    server, address = _which(invocation.parsed)
    operator = invocation.client.operator
    operator.add_peer(server, address=address, datacenter=invocation.parsed.text("datacenter"))
    which = server or address
    invocation.out.done(f"{which} has a vote.", ID=server, Address=address)
    return OK


def remove_peer(invocation: Invocation) -> int:
    """Take a server's vote."""
    server, address = _which(invocation.parsed)
    operator = invocation.client.operator
    operator.remove_peer(server, address=address, datacenter=invocation.parsed.text("datacenter"))
    what = f'id "{server}"' if server else f'address "{address}"'
    invocation.out.done(f"Removed peer with {what}.", ID=server, Address=address)
    return OK


def _which(parsed: Parsed) -> tuple[str, str]:
    server, address = parsed.text("id"), parsed.text("address")
    if bool(server) == bool(address):
        raise Usage("give the server: either --id or --address")
    return server, address


def transfer_leader(invocation: Invocation) -> int:
    """Hand leadership over."""
    parsed = invocation.parsed
    now = invocation.client.operator.transfer_leader(
        parsed.text("id"), datacenter=parsed.text("datacenter")
    )
    invocation.out.done(f"{now.node} leads now.", Success=now.success, ID=now.id, Node=now.node)
    return OK


def status(invocation: Invocation) -> int:
    """A line a server, or all about one."""
    parsed, out = invocation.parsed, invocation.out
    wanted = parsed.text("server")
    found = invocation.client.operator.raft_status(
        wanted, stale=parsed.switch("stale"), datacenter=parsed.text("datacenter")
    ).servers
    if wanted:
        return _one(invocation, found)
    columns = ("Node", *(heading for heading, _ in FIGURES), "Lag")
    newest = max((one.figures.get("CommitIndex", 0) for one in found), default=0)
    out.table(found, columns, [_figures_row(one, newest) for one in found])
    silent = [one for one in found if one.error]
    for one in silent:
        out.note(f"{one.node} could not be asked: {one.error}")
    return FAILED if silent else OK


def _one(invocation: Invocation, found: list[RaftFigures]) -> int:
    if not found:
        raise NotFound("the server said nothing of itself")
    one = found[0]
    if one.error:
        invocation.out.note(f"{one.node} could not be asked: {one.error}")
    pairs = [("Node", one.node), ("ID", one.id), ("Address", one.address)]
    pairs += [(name, _text(name, one.figures[name])) for name in one.figures]
    invocation.out.fields(one, pairs)
    return FAILED if one.error else OK


def _figures_row(one: RaftFigures, newest: int) -> tuple[str, ...]:
    cells = [_text(name, one.figures.get(name, "-")) for _, name in FIGURES]
    applied = one.figures.get("AppliedIndex")
    return (one.node, *cells, "-" if applied is None else f"{max(0, newest - applied)} entries")


def _text(name: str, value: Any) -> str:
    """A figure for people. Times are seconds; one that never came is null."""
    if value is None:
        return "never"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "-"
    if isinstance(value, dict):
        return _durations(value) if "p99" in value else _by_name(value)
    if isinstance(value, float) and ("Contact" in name or "Age" in name or "Second" in name):
        return f"{value:.3f}s"
    return str(value) if value != "" else "-"


def _durations(value: dict[str, Any]) -> str:
    """A window of durations, in milliseconds."""
    parts = [f"{name} {value[name] * 1000:.1f} ms" for name in ("p50", "p99", "max")]
    return f"{', '.join(parts)} of {value['count']}"


def _by_name(value: dict[str, Any]) -> str:
    found = []
    for name, one in sorted(value.items()):
        inner = one.items() if isinstance(one, dict) else [("", one)]
        said = ", ".join(f"{key} {_text(key, item)}".strip() for key, item in inner)
        found.append(f"{name} ({said})")
    return "; ".join(found) or "-"


COMMANDS = {
    "operator raft list-peers": Command(
        list_peers,
        about="List the servers that keep the log: voters first, then those who only follow it.",
        examples=(
            Example("operator raft list-peers", "Who votes, and how far each one is"),
            Example("operator raft list-peers --stale", "When there is no leader"),
        ),
        flags=READ_FLAGS,
    ),
    "operator raft add": Command(
        add,
        about="Give a server a vote. It must be a member and follow the log. Autopilot does this\n"
        "by itself for new servers; it does not for one that an operator has removed.",
        examples=(Example("operator raft add --id s4", "By name, or by id"),),
        flags=(SERVER, ADDRESS, DATACENTER),
    ),
    "operator raft remove-peer": Command(
        remove_peer,
        about="Take a server's vote, whether it runs or not. It gets none again by itself. When\n"
        "it leads, it hands leadership over first.",
        examples=(
            Example("operator raft remove-peer --id s4", "By name, or by id"),
            Example("operator raft remove-peer --address 10.0.0.4:8300", "By address"),
        ),
        flags=(SERVER, ADDRESS, DATACENTER),
    ),
    "operator raft transfer-leader": Command(
        transfer_leader,
        about="Hand leadership to another voter, without the pause of an election.",
        examples=(
            Example("operator raft transfer-leader", "To the fittest"),
            Example("operator raft transfer-leader --id s2", "To this one"),
        ),
        flags=(SERVER, DATACENTER),
    ),
    "operator raft status": Command(
        status,
        about="Show the figures of each server's log, as the server itself tells them.",
        examples=(
            Example("operator raft status", "A line a server"),
            Example("operator raft status --server s1", "Everything about one"),
            Example("operator raft status --stale", "When there is no leader"),
        ),
        flags=(Flag("server", "only this one, by id or name", value="ID"), *READ_FLAGS),
        exits=("1: a server could not be asked, or it failed",),
    ),
}
