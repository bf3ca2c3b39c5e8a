"""What holds between services, as the matrix tells it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from mesh.connect.intentions import decide
from mesh.registry.entries import Entry
from mesh.registry.intentions import Policy, of_entry
from mesh.registry.kinds import written
from mesh.registry.policies import Governed, Known
from mesh.ui.matrix import Cell, cell, rows

PERMISSIONS: dict[str, Any] = {"Permissions": [{"Action": "allow", "HTTP": {"PathPrefix": "/v1"}}]}


def entry(name: str, *sources: dict[str, Any]) -> Entry:
    body = written("service-intentions", name, {"Sources": list(sources)})
    return Entry(kind="service-intentions", name=name, body=body)


def governed(*sources: dict[str, Any], every: tuple[dict[str, Any], ...] = ()) -> Governed:
    """`db`, by its own sources and those of `*`."""
    own = of_entry(entry("db", *sources)) if sources else []
    others = of_entry(entry("*", *every)) if every else []
    return Governed(policy=Policy(destination="db", intentions=[*own, *others]), protocol="http")


def source(name: str, action: str = "", **more: Any) -> dict[str, Any]:
    return {"Name": name, **({"Action": action} if action else {}), **more}


CASES = [
    # Own sources, those of `*`, who calls; what holds, by what, between whom.
    ([], [], "web", "allow", "default", ("", "")),
    ([source("web", "deny")], [], "web", "deny", "exact", ("web", "db")),
    ([source("Web", "deny")], [], "web", "deny", "exact", ("Web", "db")),
    ([source("web", "deny")], [], "api", "allow", "default", ("", "")),
    ([source("*", "deny")], [], "api", "deny", "wildcard", ("*", "db")),
    ([source("*", "deny")], [source("api", "allow")], "api", "deny", "wildcard", ("*", "db")),
    ([], [source("api", "deny")], "api", "deny", "wildcard", ("api", "*")),
    ([], [source("api", "allow"), source("*", "deny")], "web", "deny", "wildcard", ("*", "*")),
    ([source("web", **PERMISSIONS)], [], "web", "requests", "exact", ("web", "db")),
    ([source("web", "deny", DryRun=True)], [], "web", "allow", "default", ("", "")),
]


@pytest.mark.parametrize(("own", "every", "caller", "says", "by", "ends"), CASES)
def test_cell(
    own: list[Any], every: list[Any], caller: str, says: str, by: str, ends: tuple[str, str]
) -> None:
    found = cell(governed(*own, every=tuple(every)), caller, True)
    assert (found.says, found.by, (found.source, found.destination)) == (says, by, ends)


def test_a_dry_run_is_shown_beside_what_holds() -> None:
    both = governed(source("web", "allow"), source("web", "deny", DryRun=True))
    found = cell(both, "web", False)
    assert (found.says, found.trial) == ("allow", "deny")
    assert cell(both, "api", False).trial == ""


def test_without_requests_to_judge_permissions_deny() -> None:
    one = governed(source("web", **PERMISSIONS))
    found = cell(Governed(policy=one.policy, protocol="tcp"), "web", True)
    assert (found.says, found.permissions) == ("deny", 1)


def test_a_row_tells_of_every_source_as_the_evaluator_does() -> None:
    every = [source("cron", "deny"), source("*", "allow")]
    own = governed(source("Web", "deny"), source("api", **PERMISSIONS), every=tuple(every))
    known = Known(
        every=Policy(destination="*", intentions=of_entry(entry("*", *every))),
        own=[own],
        parties=[],
    )
    for default in (True, False):
        found = {row.destination: row for row in rows(known, default)}
        assert list(found) == ["*", "db"]
        policies = {"*": known.every, "db": own.policy}
        for name, caller in itertools.product(found, ["web", "WEB", "api", "cron", "other"]):
            shown: Cell = found[name].sources.get(caller.lower(), found[name].others)
            decision = decide(policies[name], caller, None, default)
            assert (shown.says == "allow") == decision.allowed
            assert shown.rule == decision.rule
