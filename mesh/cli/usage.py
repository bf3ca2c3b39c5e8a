"""meshctl operator usage: how much is registered."""

from __future__ import annotations

from mesh.cli.command import OK, Command, Example
from mesh.cli.flags import DATACENTER, Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.client.shapes_usage import Amounts


def instances(invocation: Invocation) -> int:
    """Count services and instances of one datacenter, or of each."""
    parsed, out = invocation.parsed, invocation.out
    billable, connect = parsed.switch("billable"), parsed.switch("connect")
    if billable and connect:
        raise Usage("give only one of --billable and --connect")
    everywhere = parsed.switch("all-datacenters")
    found = invocation.client.operator.usage(
        everywhere=everywhere, datacenter=parsed.text("datacenter")
    )
    rows: list[tuple[str, ...]]
    heads: tuple[str, ...]
    if billable:
        heads = ("Datacenter", "Services", "Billable Instances")
        rows = [_billable(name, found.usage[name]) for name in sorted(found.usage)]
    elif connect:
        heads = ("Datacenter", "Kind", "Instances")
        rows = [row for name in sorted(found.usage) for row in _connect(name, found.usage[name])]
    else:
        heads = ("Datacenter", "Nodes", "Services", "Instances", "Billable", "In the Mesh")
        rows = [_all(name, found.usage[name]) for name in sorted(found.usage)]
    out.table(found, heads, rows)
    if everywhere and not connect:
        total = sum(one.billable_service_instances for one in found.usage.values())
        out.note(f"Billable instances in all: {total}.")
    return OK


def _billable(name: str, one: Amounts) -> tuple[str, ...]:
    return name, str(one.services), str(one.billable_service_instances)


def _connect(name: str, one: Amounts) -> list[tuple[str, ...]]:
    return [
        (name, kind, str(count)) for kind, count in sorted(one.connect_service_instances.items())
    ]


def _all(name: str, one: Amounts) -> tuple[str, ...]:
    return (
        name,
        str(one.nodes),
        str(one.services),
        str(one.service_instances),
        str(one.billable_service_instances),
        str(sum(one.connect_service_instances.values())),
    )


COMMANDS = {
    "operator usage instances": Command(
        instances,
        about="Count nodes, services and their instances. Billable are instances that are no\n"
        "proxies, no gateways and no servers: what Consul's licence counts.",
        flags=(
            Flag("all-datacenters", "of every datacenter", "switch"),
            Flag("billable", "only what is billable", "switch"),
            Flag("connect", "only what is in the mesh, by kind", "switch"),
            DATACENTER,
        ),
        examples=(
            Example("operator usage instances", "How much there is here"),
            Example("operator usage instances --all-datacenters", "... and everywhere"),
        ),
    ),
}
