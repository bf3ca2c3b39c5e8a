"""What a node knows of itself: its instances, and old news about it that it takes back."""

from __future__ import annotations

from collections.abc import Callable

from mesh.agent.own import hear_of_own, own_part
from mesh.registry.health import Instances, NodeChecks
from mesh.registry.transitions import GONE, Transition, read
from tests.agent.conftest import World

Make = Callable[..., World]
TTL = {"TTL": "1h"}


def test_its_instances_with_the_checks_that_decide_their_health(world: Make) -> None:
    made = world()
    made.service(Name="Web", ID="w2", Check=TTL | {"Status": "passing"})
    made.service(Name="web", ID="w1", Port=80)
    made.service(Name="db")
    made.check(ID="disk", Name="disk", Status="warning", **TTL)
    found = own_part(made.agent, Instances("WEB"))
    assert found is not None
    assert [one.service.id for one in found] == ["w1", "w2"]
    assert [check.id for check in found[1].checks] == ["service:w2", "disk"]
    assert {one.status for one in found} == {"warning"}
    assert found[0].node.address == "10.0.0.1"
    assert own_part(made.agent, Instances("api")) == []
    assert own_part(made.agent, NodeChecks("n1")) is None


def told(made: World, now: float) -> list[tuple[str, str, str]]:
    found = []
    while payload := made.agent.news.take(now):
        found += [(one.service_id, one.check_id, one.status) for one in read(payload)[1]]
    return found


def test_what_it_said_before_a_restart_is_taken_back_if_untrue(world: Make) -> None:
    made, news = world(), world().agent.news
    made.service(Name="web", Check=TTL | {"CheckID": "c", "Status": "passing"})
    first, now, news = made.agent.checks()["c"].row.sequence, 1e9, made.agent.news
    assert isinstance(first, int)
    told(made, now)
    said = [
        Transition("web", "c", "critical", first + 10**6),
        Transition("web", "old", "critical", 5),
        Transition("api", "", "passing", 6),
        Transition("", "gone", GONE, 7),
    ]
    hear_of_own(made.agent, news, now, said)
    assert told(made, now + 100) == [
        ("web", "c", "passing"),
        ("web", "old", GONE),
        ("api", "", GONE),
    ]
    row = made.agent.checks()["c"].row
    assert isinstance(row.sequence, int)
    assert row.sequence > first + 10**6
    hear_of_own(made.agent, news, now, said)
    again = [one for one in told(made, now) if one[1] == "c"]
    assert made.agent.checks()["c"].row == row, again
