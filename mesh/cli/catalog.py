"""meshctl catalog: nodes, services and datacenters."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.cli.command import OK, Command, Example
from mesh.cli.connection import read_options
from mesh.cli.flags import READ_FLAGS, Flag
from mesh.cli.invocation import Invocation
from mesh.client.shapes import Node
from mesh.errors import NotFound

NODE_META = Flag("node-meta", "only nodes with this metadata", "list", value="KEY=VALUE")
FILTER = Flag("filter", "only what matches this filter expression", value="EXPRESSION")


def datacenters(invocation: Invocation) -> int:
    """List them, nearest first."""
    names = invocation.client.catalog.datacenters().value
    invocation.out.lines(names, names)
    return OK


def nodes(invocation: Invocation) -> int:
    """List every node, or those that run a service."""
    parsed = invocation.parsed
    found = _find_nodes(invocation)
    if parsed.switch("detailed"):
        columns = ("Node", "ID", "Address", "DC", "TaggedAddresses", "Meta")
        rows = [(*_row(node), _pairs(node.tagged_addresses), _pairs(node.meta)) for node in found]
        invocation.out.table(found, columns, rows)
    else:
        short = [(node.name, node.id[:8], node.address, node.datacenter) for node in found]
        invocation.out.table(found, ("Node", "ID", "Address", "DC"), short)
    return OK


def _find_nodes(invocation: Invocation) -> list[Node]:
    parsed, client = invocation.parsed, invocation.client
    options = read_options(parsed)
    service = parsed.text("service")
    if not service:
        return client.catalog.nodes(options).value
    found = {}
    for instance in client.catalog.service(service, options=options).value:
        found[instance.node] = Node(
            name=instance.node,
            id=instance.id,
            address=instance.address,
            datacenter=instance.datacenter,
            tagged_addresses=instance.tagged_addresses,
            meta=instance.node_meta,
        )
    return list(found.values())


def _row(node: Node) -> tuple[str, ...]:
    return node.name, node.id, node.address, node.datacenter


def _pairs(pairs: Mapping[str, str]) -> str:
    return ",".join(f"{key}={pairs[key]}" for key in sorted(pairs))


def services(invocation: Invocation) -> int:
    """List every service, or those of a node."""
    tags = _find_services(invocation)
    names = sorted(tags)
    if invocation.parsed.switch("tags"):
        rows = [(name, ",".join(tags[name])) for name in names]
        invocation.out.table(tags, ("Service", "Tags"), rows)
    else:
        invocation.out.lines(tags, names)
    return OK


def _find_services(invocation: Invocation) -> dict[str, list[str]]:
    client, options = invocation.client, read_options(invocation.parsed)
    name = invocation.parsed.text("node")
    if not name:
        return client.catalog.services(options).value
    node = client.catalog.node(name, options).value
    if node is None:
        raise NotFound(f'there is no node "{name}"')
    tags: dict[str, set[str]] = {}
    for service in node.services:
        tags.setdefault(service.name, set()).update(service.tags)
    return {service: sorted(found) for service, found in tags.items()}


COMMANDS = {
    "catalog datacenters": Command(
        datacenters,
        about="List the datacenters that the servers know, nearest first.",
        examples=(Example("catalog datacenters", "One name a line"),),
    ),
    "catalog nodes": Command(
        nodes,
        about="List the nodes of the catalog, one a line.",
        examples=(
            Example("catalog nodes", "Every node"),
            Example("catalog nodes --service web", "The nodes that run web"),
            Example("catalog nodes --near _agent", "The nearest to the agent first"),
        ),
        flags=(
            Flag("detailed", "show whole ids, tagged addresses and metadata", "switch"),
            Flag("service", "only nodes that run this service", value="NAME"),
            Flag("near", "sort by distance from this node; _agent is the agent's", value="NODE"),
            NODE_META,
            FILTER,
            *READ_FLAGS,
        ),
    ),
    "catalog services": Command(
        services,
        about="List the names of all services, one a line.",
        examples=(
            Example("catalog services", "Every service"),
            Example("catalog services --tags", "With the tags that their instances have"),
            Example("catalog services --node web-1", "What runs on one node"),
        ),
        flags=(
            Flag("tags", "show the tags too", "switch"),
            Flag("node", "only services of this node", value="NAME"),
            NODE_META,
            FILTER,
            *READ_FLAGS,
        ),
    ),
}
