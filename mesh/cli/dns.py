"""meshctl dns: how an agent answers a DNS question."""

from __future__ import annotations

from mesh.cli.command import OK, Command, Example
from mesh.cli.flags import Argument, Flag
from mesh.cli.invocation import Invocation
from mesh.client.dns import Candidate, Explanation

KINDS = ("A", "AAAA", "ANY", "CNAME", "NS", "PTR", "SOA", "SRV", "TXT")
COLUMNS = ("Node", "Instance", "Address", "Port", "Health", "Fate")


def explain(invocation: Invocation) -> int:
    """Show how the agent answers."""
    parsed, out = invocation.parsed, invocation.out
    found = invocation.client.dns.explain(
        parsed.arguments[0],
        parsed.text("type") or "A",
        tcp=parsed.switch("tcp"),
        edns_bytes=parsed.number("edns"),
        subnet=parsed.text("subnet"),
    )
    if out.as_json:
        out.json(found)
        return OK
    out.fields(found, _head(found))
    if found.candidates:
        out.lines(found, [""])
        out.table(found, COLUMNS, [_cells(one) for one in found.candidates])
    out.lines(found, ["", *_answer(found)])
    return OK


def _head(found: Explanation) -> list[tuple[str, str]]:
    pairs = [
        ("Question", f"{found.name} {found.type} over {found.over}"),
        ("Meaning", found.meaning),
        ("Read from", found.read),
    ]
    if found.error:
        pairs.append(("Error", found.error))
    pairs += [("Rule" if at == 0 else "", rule) for at, rule in enumerate(found.rules)]
    if found.ttl is not None:
        pairs.append(("TTL", f"{found.ttl} s: {found.ttl_rule}"))
    pairs.append(("Kept", found.kept))
    return pairs


def _cells(one: Candidate) -> tuple[str, ...]:
    fate = f"{one.fate}: {one.why}" if one.why else one.fate
    if one.complaints:
        fate += f" ({'; '.join(one.complaints)})"
    return (one.node, one.service_id, one.address, str(one.port), one.status, fate)


def _answer(found: Explanation) -> list[str]:
    flags = f", flags {' '.join(found.flags)}" if found.flags else ""
    left = found.made - len(found.answers)
    dropped = " (more were made than fit)" if left else ""
    sections = (
        ("", found.answers),
        ("Authority:", found.authority),
        ("Additional:", found.additional),
    )
    lines = [
        f"{found.code}{flags}: {len(found.answers)} answers{dropped}, "
        f"{found.size} of {found.size_max} bytes"
    ]
    for title, records in sections:
        lines += [title] if title and records else []
        lines += [f"  {record}" for record in records]
    return lines


COMMANDS = {
    "dns explain": Command(
        explain,
        about="Show how the agent's DNS answers a question: what the name was taken to mean, each\n"
        "instance and why it is in the answer or not, the rules, and the answer itself. The agent\n"
        "answers anew, by the same code that answers DNS, so the order may be another one.",
        examples=(
            Example("dns explain web.service.mesh", "Which addresses, and why not the others"),
            Example("dns explain --type SRV v2.web.service.mesh", "With ports, of a tag"),
            Example("dns explain --edns 0 web.service.mesh", "As an old client is answered"),
        ),
        arguments=(Argument("NAME"),),
        flags=(
            Flag("type", "the type of record; A unless told", value="TYPE", choices=KINDS),
            Flag("tcp", "as if asked over TCP", "switch"),
            Flag("edns", "bytes that the client takes: 1232 unless told, 0: no EDNS", "number"),
            Flag("subnet", "whose question a resolver passes on", value="NETWORK"),
        ),
    ),
}
