"""meshctl doctor: what is wrong, found by trying."""

from __future__ import annotations

from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.flags import Argument, Flag
from mesh.cli.invocation import Invocation
from mesh.client.doctor import Report

NAMED_MAX = 8
"""With more members the columns have numbers instead of names."""


def network(invocation: Invocation) -> int:
    """Test the paths between members; a matrix and one sentence a fault."""
    parsed, out = invocation.parsed, invocation.out
    out.as_json = out.as_json or parsed.switch("json")
    report = invocation.client.agent.examine_network(parsed.arguments)
    columns, rows = _matrix(report)
    out.table(report, columns, rows)
    if not out.as_json:
        out.lines(report, ["", *_sentences(report)])
    return OK if report.healthy else FAILED


def _matrix(report: Report) -> tuple[list[str], list[list[str]]]:
    """From whom down, to whom across."""
    shown = {(path.source, path.target): path.shown for path in report.paths}
    names = [member.name for member in report.members]
    many = len(names) > NAMED_MAX
    labels = [str(number) for number, _ in enumerate(names, 1)] if many else names
    rows = []
    for label, source in zip(labels, names, strict=True):
        cells = ["-" if source == target else shown.get((source, target), "?") for target in names]
        rows.append([f"{label} {source}" if many else source, *cells])
    return ["From \\ to", *labels], rows


def _sentences(report: Report) -> list[str]:
    faults = [one.text for one in report.findings if one.fault]
    remarks = [one.text for one in report.findings if not one.fault]
    lines = [f"{number}. {text}" for number, text in enumerate(faults, 1)]
    if not faults:
        lines.append(
            f"No fault was found between these {len(report.members)} members: UDP and TCP pass "
            "both ways."
        )
    return [*lines, *(f"Note: {text}" for text in remarks)]


COMMANDS = {
    "doctor network": Command(
        network,
        about="Test the network between members. Each of them pings every other over UDP, with\n"
        "small and large datagrams, and over TCP; what arrived is compared with what was sent.\n"
        "Shows round-trip times and losses from each to each, and one sentence for every fault:\n"
        "UDP blocked one way or both, TCP blocked, loss, a small MTU, addresses rewritten by a\n"
        "NAT, other keys, clocks that differ, slow members. Of more than 32 members some are\n"
        "picked. It takes some 5 seconds, longer when members do not answer.",
        examples=(
            Example("doctor network", "All members"),
            Example("doctor network web-1 web-2", "These two, and the agent asked"),
            Example("doctor network --json", "Every figure, for a script"),
        ),
        arguments=(Argument("NODE", required=False, many=True),),
        flags=(Flag("json", "the same as --format json", "switch"),),
        exits=("1: there is a fault, or the test could not be made",),
    ),
}
