"""What this node itself knows of an answer: the instances it runs, with their present checks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mesh.agent.news import News
from mesh.agent.state import Here
from mesh.registry.health import Instance, Instances
from mesh.registry.port import Query
from mesh.registry.transitions import GONE, Transition


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


def hear_of_own(here: Here, news: News, now: float, said: Iterable[Transition]) -> None:
    """What was once said of this node, heard again after a restart: it is taken back if untrue.

    Its sequences are passed, and checks and instances that are here no more are told to be gone.
    """
    told = list(said)
    here.witness(max((one.sequence for one in told), default=0))
    for one in told:
        if one.status == GONE:
            continue
        if one.check_id and one.check_id not in here.checks():
            news.changed(now, one.check_id, one.service_id, GONE)
        elif not one.check_id and one.service_id not in here.services():
            news.deregistered(now, one.service_id)
