"""Every command, query, order and table there is, each in one ordered list."""

from __future__ import annotations

from typing import Any, TypeAlias

from mesh.registry import (
    autopilot,
    catalog,
    coordinates,
    health,
    kv,
    levels,
    orders,
    outcomes,
    prepared,
    prepared_rows,
    txn,
)
from mesh.store.table import Table

TABLES: tuple[Table[Any], ...] = (
    catalog.NODES,
    catalog.SERVICES,
    catalog.CHECKS,
    kv.PAIRS,
    autopilot.TABLE,
    levels.LEVELS,
    coordinates.TABLE,
    prepared_rows.TABLE,
)

AnyCommand: TypeAlias = (
    catalog.Register
    | catalog.Deregister
    | kv.Set
    | kv.Delete
    | kv.DeleteUnder
    | autopilot.Set
    | levels.Found
    | levels.Finalize
    | outcomes.Cancel
    | coordinates.Update
    | txn.Apply
    | prepared.Create
    | prepared.Update
    | prepared.Delete
)

AnyQuery: TypeAlias = (
    catalog.Nodes
    | catalog.NodeNamed
    | catalog.Services
    | catalog.ServiceNodes
    | catalog.Everything
    | catalog.Owner
    | health.Instances
    | health.NodeChecks
    | health.ServiceChecks
    | health.ChecksInState
    | health.GossipChecks
    | kv.Get
    | kv.Under
    | kv.Keys
    | levels.Present
    | outcomes.Find
    | autopilot.Get
    | coordinates.All
    | coordinates.Of
    | coordinates.Distances
    | txn.Read
    | prepared.All
    | prepared.Get
    | prepared.Resolve
)

AnyOrder: TypeAlias = (
    orders.RaftConfiguration
    | orders.AddPeer
    | orders.RemovePeer
    | orders.TransferLeader
    | orders.RaftStatus
    | orders.OwnStatus
    | orders.AutopilotHealth
    | orders.AppliedIndex
    | orders.Datacenters
    | orders.FireEvent
    | coordinates.Report
    | coordinates.Datacenters
)
