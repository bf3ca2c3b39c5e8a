"""Nodes: the table of machines, which other nouns hang on."""

from __future__ import annotations

from mesh.store.table import Row, Table


class Node(Row, frozen=True, kw_only=True):
    """A machine. Names are found whatever their case."""

    name: str
    id: str = ""
    address: str = ""
    datacenter: str = ""
    tagged_addresses: dict[str, str] = {}
    meta: dict[str, str] = {}


NODES: Table[Node] = Table(
    "nodes",
    Node,
    key=lambda node: node.name.lower(),
    indexes={
        "id": lambda node: (node.id.lower(),) if node.id else (),
        "address": lambda node: (node.address.lower(),) if node.address else (),
    },
    history="node",
)
