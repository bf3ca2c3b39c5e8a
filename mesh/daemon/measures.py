"""Measures: which figures of a node become which metrics, by the names Consul's users know."""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesh import __version__
from mesh.gossip.members import Status
from mesh.raft.node import Node as RaftNode
from mesh.registry.sessions import DELAYS, SESSIONS
from mesh.rpc.servers import read_tags
from mesh.server.autopilot import health
from mesh.telemetry.metrics import Metrics, Reading, counter, counters, gauge, summary

if TYPE_CHECKING:
    from mesh.daemon.node import Node
    from mesh.daemon.replica import Replica
    from mesh.daemon.wan import Wan
    from mesh.server.authority import Authority

MILLISECONDS = 1000.0
_HTTP = "Requests and connections of the HTTP API"
_DNS = "Questions and connections of DNS"
_WORKERS = "Processes beside the main one that were started, ended by themselves, or hung"
_GOSSIP = "Packets and streams of gossip"
_DISCOVERY = "Health over gossip, and answers from what an agent holds"
_EVENTS = "Events heard here, meant for others, or unreadable"
_WATCHES = "News told to the handlers of watches, and what failed"
_WAN = "Packets and streams of gossip between datacenters"
_RPC = "Messages between servers and agents"
_RAFT = "The log: steps, syncs, snapshots, elections and messages to other voters"


def measure(node: Node, metrics: Metrics) -> None:
    """Add the metrics of a node, of every part that it has."""
    metrics.add(lambda: _process(node))
    metrics.add(lambda: _edges(node))
    metrics.add(lambda: _pool(node))
    metrics.add(lambda: _discovery(node))
    metrics.add(lambda: _identities(node))
    metrics.add(lambda: _mesh(node))
    if (wan := node.ground.wan) is not None:
        metrics.add(lambda: _wan(wan))
    if node.replica is not None:
        replica = node.replica
        metrics.add(lambda: raft(replica.raft))
        metrics.add(lambda: counters("mesh.rpc", replica.rpc.counters, _RPC))
        metrics.add(lambda: _turned_away(replica))
        metrics.add(lambda: _registry(replica))
        metrics.add(lambda: _sessions(replica))
        metrics.add(lambda: _snapshots(replica))
        metrics.add(lambda: _authority(replica.authority))


def _mesh(node: Node) -> Iterator[Reading]:
    if node.mesh is None:
        return
    yield from node.mesh.measures()
    sidecars = node.mesh.launcher.sidecars() if node.mesh.launcher is not None else []
    running = sum(one.state == "running" for one in sidecars)
    yield gauge("mesh.sidecars.running", running, "Envoys that this agent runs")
    failed = sum(one.state == "failed" for one in sidecars)
    yield gauge("mesh.sidecars.failed", failed, "Envoys that should run here and do not")
    restarts = sum(one.restarts for one in sidecars)
    yield gauge("mesh.sidecars.restarts", restarts, "Ends of Envoys that nobody asked for")


def _turned_away(replica: Replica) -> Iterator[Reading]:
    about = "Connections on the server port that were refused"
    for reason, count in replica.rpc.turned_away.items():
        yield counter("mesh.rpc.turned_away", count, about, reason=reason)


def _snapshots(replica: Replica) -> Iterator[Reading]:
    schedule = replica.schedule
    about = "Snapshots that the leader took by itself: taken, failed"
    yield from counters("mesh.snapshots", schedule.counters, about)
    failing = "1 while the last scheduled snapshot failed"
    yield gauge("mesh.snapshots.failing", float(bool(schedule.problem)), failing)


def _process(node: Node) -> Iterator[Reading]:
    yield gauge("mesh.version", 1.0, "Which mesh this is", version=__version__)
    yield gauge("mesh.runtime.tasks", len(asyncio.all_tasks()), "Tasks of the process")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    yield gauge("mesh.runtime.max_resident_bytes", most, "Most memory the process ever had")
    objects = "Blocks of memory that Python holds"
    yield gauge("mesh.runtime.heap_objects", sys.getallocatedblocks(), objects)
    if (resident := _resident_bytes()) is not None:
        yield gauge("mesh.runtime.sys_bytes", resident, "Memory of the process now")
    collected = sum(one["collections"] for one in gc.get_stats())
    yield counter("mesh.runtime.total_gc_runs", collected, "Runs of the cycle collector")
    yield gauge("mesh.agent.services", len(node.agent.services()), "Services of this agent")
    held = "Checks that stay critical for failing again and again"
    yield gauge("mesh.agent.checks_damped", node.agent.flaps.held, held)
    yield gauge("mesh.agent.checks", len(node.agent.checks()), "Checks of this agent")


def _sessions(replica: Replica) -> Iterator[Reading]:
    expiry, contents = replica.expiry, replica.machine.database.contents
    held = {name: len(contents[name].rows) for name in (SESSIONS.name, DELAYS.name)}
    yield gauge("mesh.state.sessions", held[SESSIONS.name], "Sessions there are")
    about = "Keys that cannot be locked for a while, or could not until lately"
    yield gauge("mesh.state.lock_delays", held[DELAYS.name], about)
    running = "Timers of sessions; they run on the leader"
    yield gauge("mesh.session_ttl.active", expiry.active, running)
    yield summary("mesh.session_ttl.invalidate", expiry.expired, "Ending expired sessions, ms")
    yield counter("mesh.session.renew", expiry.renewed, "Sessions renewed while this server led")


def _identities(node: Node) -> Iterator[Reading]:
    leaves = node.identities.leaves
    held, now = leaves.held().values(), node.ground.clock.wall()
    yield gauge("mesh.connect.leaves", len(held), "Certificates of services that this node holds")
    if held:
        left = min(leaf.valid_before for leaf in held) - now
        yield gauge("mesh.connect.leaf.expiry", left, "Seconds until the first of them ends")
    trust = leaves.trust
    for root in trust.roots:
        if root.id == trust.active:
            ends, signs = root.not_after - now, root.intermediate_not_after - now
            about = "Seconds until the mesh's active root ends"
            yield gauge("mesh.connect.ca.root.expiry", ends, about)
            about = "Seconds until its intermediate ends"
            yield gauge("mesh.connect.ca.intermediate.expiry", signs, about)


def _authority(authority: Authority) -> Iterator[Reading]:
    about = "Leaves signed here, and requests for them that were over the limit"
    yield from counters("mesh.connect.ca", authority.counters, about)
    for reason, count in authority.refused.items():
        yield counter("mesh.connect.ca.refused", count, "Leaves not signed", reason=reason)


def _resident_bytes() -> int | None:
    """Memory of this process; None where the kernel does not tell in /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize()


def _edges(node: Node) -> Iterator[Reading]:
    yield from counters("mesh.http", node.http.counters, _HTTP)
    took = "Requests from their head to their answer, waiting included, ms"
    for name, window in node.http.timers.windows.items():
        method, _, path = name.partition(" ")
        label = path[1:].replace("/", "_")
        yield summary("mesh.api.http", window, took, method=method, path=label)
    yield from counters("mesh.dns", node.dns.counters, _DNS)
    if node.fronts is not None:
        running = sum(one.works for one in node.fronts.workers)
        yield gauge("mesh.workers.running", running, "Processes that answer beside the main one")
        yield from counters("mesh.workers", node.fronts.counters, _WORKERS)
    hits, resolver = node.http.hits, node.dns.resolver
    yield gauge("mesh.http.kept_responses", len(hits), "Responses kept for who asks the same")
    yield gauge("mesh.http.kept_bytes", hits.bytes, "What those take, about")
    yield gauge("mesh.dns.kept_bytes", resolver.kept_bytes, "DNS answers kept to be given again")


def _wan(wan: Wan) -> Iterator[Reading]:
    states = Counter(one.status for one in wan.gossip.members())
    for status in (Status.ALIVE, Status.FAILED):
        state = status.name.lower()
        about = "Servers in the pool of all datacenters"
        yield gauge("mesh.wan.members", states[status], about, state=state)
    known = len(wan.datacenters.datacenters())
    yield gauge("mesh.wan.datacenters", known, "Datacenters that this server knows")
    health = "How badly this node hears servers of other datacenters; 0 is well"
    yield gauge("mesh.wan.health.score", wan.gossip.health_score, health)
    yield from counters("mesh.wan", wan.gossip.counters, _WAN)


def _pool(node: Node) -> Iterator[Reading]:
    gossip = node.ground.gossip
    alive = [one for one in gossip.members() if one.status == Status.ALIVE]
    servers = sum(read_tags(one.tags) is not None for one in alive)
    yield gauge("mesh.members.servers", servers, "Servers alive in the pool")
    yield gauge("mesh.members.clients", len(alive) - servers, "Clients alive in the pool")
    health = "How badly this node hears; 0 is well"
    yield gauge("mesh.memberlist.health.score", gossip.health_score, health)
    for kind, depth in gossip.pool.depths().items():
        yield gauge("mesh.serf.queue", depth, "Messages that wait to be passed on", kind=kind)
    flaps = "Members that failed and were back within a minute"
    yield counter("mesh.serf.member.flap", gossip.pool.intents.flaps, flaps)
    calm = node.ground.calm
    frozen = "Failed members that stay in discovery (mass-failure guard)"
    yield gauge("mesh.members.frozen", len(calm.held), frozen)
    yield counter("mesh.members.freezes", calm.guard.freezes, "Times the guard began to freeze")
    damped = "Members that are left out for failing again and again"
    yield gauge("mesh.members.damped", len(calm.kept_out()), damped)
    yield from counters("mesh.memberlist", gossip.counters, _GOSSIP)
    yield from counters("mesh.events", node.messaging.events.counters, _EVENTS)
    yield from counters("mesh.watches", node.messaging.watch_counters, _WATCHES)


def _discovery(node: Node) -> Iterator[Reading]:
    overlay, held = node.hearsay.overlay, node.held
    entries = "Checks about which gossip said something"
    yield gauge("mesh.discovery.overlay_entries", overlay.entries, entries)
    yield gauge("mesh.discovery.news_open", len(node.agent.news), "Changes not in the catalog yet")
    if held is not None:
        yield gauge("mesh.discovery.held_answers", len(held), "Answers held for when servers fail")
        yield gauge("mesh.discovery.held_bytes", held.bytes, "What the held answers take")
        yield gauge("mesh.discovery.followed_answers", held.followed, "Held answers kept current")
    yield from counters("mesh.discovery", node.discovery.counters, _DISCOVERY)
    yield from counters("mesh.discovery.heard", node.hearsay.counters, _DISCOVERY)
    yield from counters("mesh.discovery.told", node.agent.news.counters, _DISCOVERY)


def raft(node: RaftNode) -> Iterator[Reading]:
    """The metrics of a server's log."""
    status, figures = node.status(), node.figures
    yield gauge("mesh.server.isLeader", float(node.is_leader), "1 on the server that leads")
    for name, meaning in _GAUGES.items():
        if name in status:
            yield gauge(f"mesh.raft.{name}", _number(status[name]), meaning)
    contact = _contact(status) * MILLISECONDS
    yield gauge("mesh.raft.leader.lastContact", contact, "Ms since leader and majority met")
    yield counter("mesh.raft.apply", figures.commits.total, "Writes this server got committed")
    yield summary("mesh.raft.commitTime", figures.commits, "From a write to its commit, ms")
    yield summary("mesh.raft.storeLogs", figures.syncs, "Writing and syncing of log entries, ms")
    yield summary("mesh.raft.snapshot.takeSnapshot", figures.snapshots.times, "Snapshots made, ms")
    yield summary("mesh.runtime.stall", figures.stalls, "How late the loop's timer came, ms")
    followers = status.get("followers")
    for name, one in sorted(followers.items()) if isinstance(followers, dict) else ():
        yield gauge("mesh.raft.follower.lag", one["lag"], "Entries a voter lacks", peer=name)
        since = one["last_contact"] * MILLISECONDS
        yield gauge("mesh.raft.follower.lastContact", since, "Ms since its answer", peer=name)
    yield from counters("mesh.raft", node.counters, _RAFT)


def _registry(replica: Replica) -> Iterator[Reading]:
    """What the tables of a server hold, and how long writes take."""
    contents = replica.machine.database.contents
    for name, (table, meaning) in _TABLES.items():
        yield gauge(f"mesh.state.{name}", len(contents[table].rows), meaning)
    names = contents["services"].buckets["name"]
    yield gauge("mesh.state.services", len(names), "Names of services in the catalog")
    connected = sum(map(len, contents["services"].buckets["connect"].values()))
    yield gauge("mesh.state.connect_instances", connected, "Sidecars and native instances")
    took = "Writes from the leader's gate to their commit, ms"
    for what, metric in _WRITES.items():
        yield summary(f"mesh.{metric}", replica.timers.windows[what], took)
    blocked = "Reads that wait here for something newer"
    yield gauge("mesh.rpc.queries_blocking", replica.reader.waiting, blocked)
    yield counter("mesh.rpc.queries_woken", replica.reader.woken, "Waits that a change ended")
    if replica.raft.is_leader:
        found = health(replica.pilot.view(), 0.0)
        yield gauge("mesh.autopilot.healthy", float(found.healthy), "1 while all servers are well")
        tolerance = "Voters that may yet fail while a majority stays"
        yield gauge("mesh.autopilot.failure_tolerance", found.failure_tolerance, tolerance)


_TABLES = {
    "nodes": ("nodes", "Nodes in the catalog"),
    "service_instances": ("services", "Instances in the catalog"),
    "checks": ("checks", "Checks in the catalog"),
    "kv_entries": ("kv", "Keys"),
    "config_entries": ("entries", "Config entries"),
    "prepared_queries": ("prepared", "Prepared queries"),
}
"""The gauges of tables: the table of each, and what it means."""
_WRITES = {
    "kv": "kvs.apply",
    "txn": "txn.apply",
    "catalog.register": "catalog.register",
    "catalog.deregister": "catalog.deregister",
    "sessions": "session.apply",
    "prepared": "prepared-query.apply",
    "config": "config_entry.apply",
    "intentions": "intention.apply",
}
"""What is written, and the timer of it by the name that Consul's users know."""

_GAUGES = {
    "term": "Present term",
    "epoch": "Present epoch: how often the voters changed",
    "last_index": "Newest log entry here",
    "commit_index": "Newest entry known to be committed",
    "applied_index": "Newest entry applied here",
    "durable_index": "Newest entry on this disk",
    "sync_queue": "Records waiting for the next sync",
    "journal_size": "Bytes of the journal on disk",
    "journal_segments": "Files of the journal",
    "snapshot_index": "Entry at which the newest snapshot was made",
    "snapshot_bytes": "Bytes of the newest snapshot",
    "snapshot_age": "Seconds since the newest snapshot was made",
    "snapshot_failures": "Snapshots in a row that found no space",
    "disk_free": "Free bytes of the disk",
    "disk_floor": "Below so many free bytes no writes are taken",
}


def _number(value: Any) -> float:
    return float(value)


def _contact(status: dict[str, Any]) -> float:
    """On the leader, since when it surely heard a majority; elsewhere, since it was heard."""
    followers = status.get("followers", {}).values()
    since = sorted(one["last_contact"] for one in followers if one["voter"])
    if since:
        return float(since[(len(since) - 1) // 2])
    return float(status["last_contact"])
