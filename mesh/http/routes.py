"""The routes: one ordered table of method, path, handler and summary, and how a path is found."""

from __future__ import annotations

import msgspec

from mesh.http import (
    agent,
    agent_node,
    catalog,
    coordinate,
    doctor,
    event,
    health,
    keyring,
    kv,
    operator,
    outcomes,
    status,
    upgrade,
)
from mesh.http.request import Handler


class Route(msgspec.Struct, frozen=True):
    """One operation. From its first `:name` on, a path takes all that follows, slashes too.

    The handler finds that in `request.rest` and takes it apart itself if it has several parts.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    limit: str = "body_max_bytes"
    """The option that limits the body."""

    @property
    def fixed(self) -> str:
        """The path up to its first `:name`."""
        return self.path.partition(":")[0]


ROUTES: tuple[Route, ...] = (
    # Agent
    Route("GET", "/v1/agent/self", agent_node.self_, "This agent's configuration and figures"),
    Route("GET", "/v1/agent/version", agent_node.version, "The program's version"),
    Route(
        "GET",
        "/v1/agent/members",
        agent_node.members,
        "Members of the gossip pool; `detailed` says why",
    ),
    Route("GET", "/v1/agent/guard", agent_node.guard, "What is frozen or damped, why, till when"),
    Route("PUT", "/v1/agent/guard/release", agent_node.release_guard, "End a freeze"),
    Route(
        "GET",
        "/v1/agent/doctor/network",
        doctor.network,
        "Test the network between members, or those named by `node`",
    ),
    Route(
        "GET",
        "/v1/agent/reachability",
        agent_node.reachability,
        "Ask every member for an acknowledgement, for `wait` at most",
    ),
    Route("PUT", "/v1/agent/join/:addr", agent_node.join, "Join the pool through an address"),
    Route("PUT", "/v1/agent/leave", agent_node.leave, "Leave the pool and stop"),
    Route("PUT", "/v1/agent/force-leave/:node", agent_node.force_leave, "Take a member for left"),
    Route("GET", "/v1/agent/metrics", agent_node.metrics, "Metrics: JSON, or for Prometheus"),
    Route("PUT", "/v1/agent/reload", agent_node.reload, "Read the configuration anew"),
    Route("GET", "/v1/agent/monitor", agent_node.monitor, "Stream the agent's log"),
    Route("PUT", "/v1/agent/maintenance", agent.maintain_node, "Node maintenance on or off"),
    Route("GET", "/v1/agent/services", agent.services, "Services of this agent"),
    Route("GET", "/v1/agent/service/:id", agent.service, "One service of this agent"),
    Route("PUT", "/v1/agent/service/register", agent.register_service, "Register a service"),
    Route("PUT", "/v1/agent/service/deregister/:id", agent.deregister_service, "Remove a service"),
    Route(
        "PUT",
        "/v1/agent/service/maintenance/:id",
        agent.maintain_service,
        "Service maintenance on or off",
    ),
    Route("GET", "/v1/agent/checks", agent.checks, "Checks of this agent"),
    Route("PUT", "/v1/agent/check/register", agent.register_check, "Register a check"),
    Route("PUT", "/v1/agent/check/deregister/:id", agent.deregister_check, "Remove a check"),
    Route("PUT", "/v1/agent/check/pass/:id", agent.pass_check, "Set a TTL check passing"),
    Route("PUT", "/v1/agent/check/warn/:id", agent.warn_check, "Set a TTL check to warning"),
    Route("PUT", "/v1/agent/check/fail/:id", agent.fail_check, "Set a TTL check critical"),
    Route("PUT", "/v1/agent/check/update/:id", agent.update_check, "Set a TTL check's status"),
    Route(
        "GET",
        "/v1/agent/health/service/id/:id",
        agent.health_by_id,
        "Health of a local instance",
    ),
    Route(
        "GET",
        "/v1/agent/health/service/name/:name",
        agent.health_by_name,
        "Health of the local instances of a service",
    ),
    # Catalog
    Route("PUT", "/v1/catalog/register", catalog.register, "Register a node, service or check"),
    Route("PUT", "/v1/catalog/deregister", catalog.deregister, "Remove a node, service or check"),
    Route("GET", "/v1/catalog/datacenters", catalog.datacenters, "Names of the datacenters"),
    Route("GET", "/v1/catalog/nodes", catalog.nodes, "Every node"),
    Route("GET", "/v1/catalog/services", catalog.services, "Every service name with its tags"),
    Route("GET", "/v1/catalog/service/:name", catalog.service, "Instances of a service"),
    Route("GET", "/v1/catalog/node/:node", catalog.node, "A node and its instances, by id"),
    Route(
        "GET",
        "/v1/catalog/node-services/:node",
        catalog.node_services,
        "A node and its instances, as a list",
    ),
    # Health
    Route("GET", "/v1/health/node/:node", health.node, "Checks of a node and its instances"),
    Route("GET", "/v1/health/checks/:service", health.checks, "Checks of a service's instances"),
    Route("GET", "/v1/health/state/:state", health.state, "Checks that have a status"),
    Route(
        "GET",
        "/v1/health/service/:service",
        health.service,
        "Instances of a service with nodes and checks",
    ),
    # Keys and values
    Route("GET", "/v1/kv/:key", kv.get, "Read a key, or what is under a prefix"),
    Route("PUT", "/v1/kv/:key", kv.put, "Write a key", limit="kv_value_max_bytes"),
    Route("DELETE", "/v1/kv/:key", kv.delete, "Delete a key, or what is under a prefix"),
    # Coordinates
    Route(
        "GET",
        "/v1/coordinate/datacenters",
        coordinate.datacenters,
        "Coordinates of the servers of each datacenter",
    ),
    Route("GET", "/v1/coordinate/nodes", coordinate.nodes, "Coordinates of all nodes"),
    Route("GET", "/v1/coordinate/node/:node", coordinate.node, "Coordinates of one node"),
    Route("PUT", "/v1/coordinate/update", coordinate.update, "Tell where a node is"),
    # Events
    Route("PUT", "/v1/event/fire/:name", event.fire, "Tell something to all agents"),
    Route("GET", "/v1/event/list", event.listed, "The last events this agent heard"),
    # Status
    Route("GET", "/v1/status/leader", status.leader, "Address of the leader"),
    Route("GET", "/v1/status/peers", status.peers, "Addresses of the voting servers"),
    # Operator
    Route(
        "GET",
        "/v1/operator/raft/configuration",
        operator.raft_configuration,
        "Servers that keep the log, voters first; `stale` asks any server",
    ),
    Route(
        "PUT",
        "/v1/operator/raft/peer",
        operator.add_peer,
        "Give a server a vote, by `id` (or name) or `address`",
    ),
    Route(
        "DELETE",
        "/v1/operator/raft/peer",
        operator.remove_peer,
        "Take a server's vote, by `id` (or name) or `address`",
    ),
    Route(
        "POST",
        "/v1/operator/raft/transfer-leader",
        operator.transfer_leader,
        "Hand leadership over, to the voter `id` (or name) if given",
    ),
    Route(
        "GET",
        "/v1/operator/raft/status",
        operator.raft_status,
        "Figures of every server's log, or of `server`; `stale` asks any server",
    ),
    Route(
        "GET",
        "/v1/operator/autopilot/configuration",
        operator.autopilot_configuration,
        "Autopilot's settings",
    ),
    Route(
        "PUT",
        "/v1/operator/autopilot/configuration",
        operator.set_autopilot_configuration,
        "Write autopilot's settings, if their index is `cas`",
    ),
    Route(
        "GET",
        "/v1/operator/autopilot/health",
        operator.autopilot_health,
        "How the servers fare; 429 when one is not healthy",
    ),
    Route(
        "GET",
        "/v1/operator/autopilot/state",
        operator.autopilot_state,
        "How the servers fare, who votes, what autopilot did last",
    ),
    Route("GET", "/v1/operator/keyring", keyring.listed, "Gossip's keys, and who has them"),
    Route("POST", "/v1/operator/keyring", keyring.install, "Give every member a key"),
    Route("PUT", "/v1/operator/keyring", keyring.use, "Have every member encrypt with a key"),
    Route("DELETE", "/v1/operator/keyring", keyring.remove, "Take a key from every member"),
    Route(
        "GET",
        "/v1/operator/request/:key",
        outcomes.find,
        "What became of the request with this Idempotency-Key",
    ),
    Route(
        "DELETE",
        "/v1/operator/request/:key",
        outcomes.cancel,
        "Make sure that a request is not applied any more",
    ),
    Route("GET", "/v1/operator/upgrade", upgrade.status, "Feature levels of the cluster"),
    Route("PUT", "/v1/operator/upgrade/finalize", upgrade.finalize, "Raise the feature level"),
)


class Found(msgspec.Struct, frozen=True):
    """The operations on a path, by method, and where the fixed part of the path ends."""

    operations: dict[str, Route]
    end: int

    @property
    def allow(self) -> str:
        """The value of the Allow header."""
        return ",".join(["OPTIONS", *self.operations])


class Paths:
    """Finds routes by path: an exact one first, else the longest that takes a rest."""

    def __init__(self, routes: tuple[Route, ...] = ROUTES) -> None:
        self._exact: dict[str, Found] = {}
        self._open: dict[str, Found] = {}
        for route in routes:
            kind = self._open if ":" in route.path else self._exact
            found = kind.setdefault(route.fixed, Found({}, len(route.fixed)))
            assert route.method not in found.operations, f"{route.path} is there twice"
            found.operations[route.method] = route

    def find(self, path: str) -> Found | None:
        """The operations on this path (still percent-encoded), or None."""
        found = self._exact.get(path)
        if found is not None:
            return found
        end = path.rfind("/") + 1
        while end > 0:
            found = self._open.get(path[:end])
            if found is not None:
                return found
            end = path.rfind("/", 0, end - 1) + 1
        return None

    def moved(self, path: str) -> bool:
        """Whether the path lacks only the slash that ends a route's fixed part."""
        return path not in self._exact and f"{path}/" in self._open
