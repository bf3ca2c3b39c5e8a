"""Every command, query, order and table there is, each in one ordered list."""

from __future__ import annotations

from typing import Any, TypeAlias

from mesh.registry import (
    authority,
    autopilot,
    catalog,
    config,
    coordinates,
    entries,
    glance,
    health,
    history,
    imports,
    intention_writes,
    intentions,
    kv,
    levels,
    maintenance,
    orders,
    outcomes,
    overview,
    policies,
    prepared,
    prepared_rows,
    refusals,
    restores,
    revocations,
    sessions,
    settings,
    snapshots,
    topology,
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
    maintenance.TABLE,
    entries.TABLE,
    history.TABLE,
    sessions.SESSIONS,
    sessions.DELAYS,
    authority.SETTINGS,
    authority.ROOTS,
    authority.KEYS,
    authority.REPORTS,
    refusals.TABLE,
    revocations.TABLE,
    restores.TABLE,
    restores.CHUNKS,
)

AnyCommand: TypeAlias = (
    catalog.Register
    | catalog.Deregister
    | kv.Set
    | kv.Delete
    | kv.DeleteUnder
    | kv.Acquire
    | kv.Release
    | sessions.Create
    | sessions.Destroy
    | sessions.Expire
    | sessions.Sweep
    | autopilot.Set
    | levels.Found
    | levels.Finalize
    | outcomes.Cancel
    | coordinates.Update
    | entries.Set
    | entries.Delete
    | config.Write
    | config.Create
    | config.Erase
    | intention_writes.Put
    | intention_writes.Drop
    | intention_writes.Promote
    | history.Limit
    | history.Revert
    | txn.Apply
    | imports.Merge
    | prepared.Create
    | prepared.Update
    | prepared.Delete
    | restores.Begin
    | restores.Add
    | restores.Finish
    | restores.Abandon
    | maintenance.Begin
    | maintenance.End
    | maintenance.Expire
    | authority.Amend
    | authority.Tell
    | authority.Forget
    | refusals.Tell
    | refusals.Forget
    | revocations.Revoke
    | revocations.Unrevoke
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
    | health.Connected
    | health.OfKind
    | overview.Nodes
    | overview.Services
    | overview.Overall
    | overview.Usage
    | topology.Topology
    | glance.Nodes
    | glance.Sessions
    | policies.Every
    | kv.Get
    | kv.Under
    | kv.Keys
    | sessions.Info
    | sessions.OfNode
    | sessions.All
    | levels.Present
    | outcomes.Find
    | autopilot.Get
    | coordinates.All
    | coordinates.Of
    | coordinates.Distances
    | txn.Read
    | restores.State
    | maintenance.All
    | entries.Get
    | entries.List
    | intentions.Matching
    | intentions.All
    | intentions.OfSource
    | intentions.Exact
    | intentions.Get
    | intentions.Providers
    | settings.Service
    | settings.Mesh
    | history.Present
    | history.Of
    | history.At
    | history.Compare
    | prepared.All
    | prepared.Get
    | prepared.Named
    | prepared.Templates
    | authority.Roots
    | authority.Configured
    | authority.Reports
    | authority.ReportOf
    | refusals.All
    | refusals.Of
    | revocations.All
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
    | orders.DefaultAllow
    | coordinates.Report
    | coordinates.Datacenters
    | sessions.Renew
    | snapshots.Open
    | snapshots.Read
    | snapshots.Close
    | snapshots.Schedules
    | snapshots.OwnSchedule
    | authority.Sign
    | authority.Configure
    | authority.Prepare
    | authority.Activate
    | authority.Retire
    | authority.Recover
)
