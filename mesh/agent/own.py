"""What this node itself knows of an answer: the instances it runs, with their present checks."""

from __future__ import annotations

from typing import Any

from mesh.agent.state import Here
from mesh.registry.health import Instance, Instances
from mesh.registry.port import Query


def own_part(here: Here, query: Query[Any]) -> list[Instance] | None:
    """The instances of a service that run here, ordered by id; None for any other query."""
    if not isinstance(query, Instances):
        return None
    node, checks = here.node(), [check.row for check in here.checks().values()]
    return [
        Instance(
            node,
            local.row,
            [check for check in checks if check.service_id in {"", service_id}],
        )
        for service_id, local in sorted(here.services().items())
        if local.row.name.lower() == query.service.lower()
    ]
