"""Every command, query, order and table there is, each in one ordered list."""

from __future__ import annotations

from typing import Any, TypeAlias

from mesh.registry import autopilot, catalog, health, kv, orders
from mesh.store.table import Table

TABLES: tuple[Table[Any], ...] = (
    catalog.NODES,
    catalog.SERVICES,
    catalog.CHECKS,
    kv.PAIRS,
    autopilot.TABLE,
)

AnyCommand: TypeAlias = (
    catalog.Register | catalog.Deregister | kv.Set | kv.Delete | kv.DeleteUnder | autopilot.Set
)

AnyQuery: TypeAlias = (
    catalog.Nodes
    | catalog.NodeNamed
    | catalog.Services
    | catalog.ServiceNodes
    | catalog.Owner
    | health.Instances
    | health.NodeChecks
    | health.ServiceChecks
    | health.ChecksInState
    | health.GossipChecks
    | kv.Get
    | kv.Under
    | kv.Keys
    | autopilot.Get
)

AnyOrder: TypeAlias = (
    orders.RaftConfiguration
    | orders.AddPeer
    | orders.RemovePeer
    | orders.TransferLeader
    | orders.RaftStatus
    | orders.OwnStatus
    | orders.AutopilotHealth
)
