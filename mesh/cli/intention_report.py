"""meshctl intention report: what dry runs would change, and what was denied."""

from __future__ import annotations

from mesh.cli.command import OK, Command, Example
from mesh.cli.flags import DATACENTER, Argument, Flag
from mesh.cli.invocation import Invocation
from mesh.client.intention import Refusal

WORDS = {"denied": "denied", "would-deny": "would be denied", "would-allow": "would be allowed"}


def report(invocation: Invocation) -> int:
    """Show it by pair and rule, each with what it is about below."""
    parsed = invocation.parsed
    service = parsed.arguments[0] if parsed.arguments else ""
    client, datacenter = invocation.client.intention, parsed.text("datacenter")
    denied, here = parsed.switch("denied"), parsed.switch("here")
    found = client.report(denied=denied, service=service, here=here, datacenter=datacenter)
    lines = [line for one in found for line in _lines(one, nodes=parsed.switch("nodes"))]
    if not found:
        what = "was denied" if denied else "would be different with the dry runs there are"
        lines = [f"Nothing {what}, as far as sidecars saw."]
    invocation.out.lines(found, lines)
    return OK


def _lines(one: Refusal, *, nodes: bool) -> list[str]:
    last = f", last {one.last}" if one.last != one.first else ""
    lines = [
        f"{one.source} => {one.destination}: {one.count} {WORDS.get(one.kind, one.kind)}, "
        f"first {one.first}{last}",
        f"  rule  {one.rule}",
    ]
    if one.entry:
        lines.append(f"  at    {one.entry}")
    if one.examples:
        lines.append(f"  like  {', '.join(one.examples)}")
    if nodes:
        lines += [f"  on    {each.node}: {each.count}, last {each.last}" for each in one.nodes]
    return lines


COMMANDS = {
    "intention report": Command(
        report,
        about="Show which calls dry runs would deny or allow, by pair and rule, as the sidecars\n"
        "of the whole cluster saw them; with --denied which calls were denied. What an agent\n"
        "sees comes here within some seconds, numbers within a minute.",
        examples=(
            Example("intention report", "What promoting the dry runs would change"),
            Example("intention report --denied payments", "Who was denied at payments, and why"),
        ),
        arguments=(Argument("SERVICE", required=False),),
        flags=(
            Flag("denied", "what was really denied", "switch"),
            Flag("nodes", "say on which nodes, and how often there", "switch"),
            Flag("here", "only what the sidecars of this agent saw since it began", "switch"),
            DATACENTER,
        ),
    ),
}
