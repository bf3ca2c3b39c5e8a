"""Nodes: the table of machines, which other nouns hang on."""

from __future__ import annotations

from sys import intern
from typing import ClassVar

import msgspec

from mesh.store.table import Row, Table


class Locality(msgspec.Struct, frozen=True):
    """Where something is, in the words of who rents out machines."""

    region: str = ""
    zone: str = ""


class Node(Row, frozen=True, kw_only=True):
    """A machine. Names are found whatever their case."""

    history: ClassVar[str] = "node"
    name: str
    id: str = ""
    address: str = ""
    datacenter: str = ""
    tagged_addresses: dict[str, str] = {}
    meta: dict[str, str] = {}
    locality: Locality | msgspec.UnsetType = msgspec.UNSET
    """Written by no cluster below level 4."""


NODES: Table[Node] = Table(
    "nodes",
    Node,
    key=lambda node: intern(node.name.lower()),
    indexes={
        "id": lambda node: (node.id.lower(),) if node.id else (),
        "address": lambda node: (node.address.lower(),) if node.address else (),
    },
)
