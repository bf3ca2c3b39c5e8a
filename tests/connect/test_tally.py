"""What is counted of calls that are refused, under which rule, and what is logged of it."""

from __future__ import annotations

from mesh.connect.tally import CONNECTIONS_MAX, LOG_SECONDS, Tally
from mesh.connect.xds.seen import Held, Seen
from mesh.registry.intentions import (
    Action,
    HeaderMatch,
    HttpMatch,
    Intention,
    JwtNeed,
    Permission,
    Policy,
)
from mesh.registry.refusals import EXAMPLES_MAX, REFUSALS_MAX, Refusal


def uri(name: str) -> str:
    return f"spiffe://td.consul/ns/default/dc/dc1/svc/{name}"


def seen(caller: str = "web", *, denied: bool = True, shadow: str = "", **more: str) -> Seen:
    given = {"method": "GET", "path": "/"} | more
    return Seen(caller=uri(caller), denied=denied, shadow=shadow, **given)  # type: ignore[arg-type]


def policy(*intentions: Intention, jwt: list[JwtNeed] | None = None) -> Policy:
    return Policy(destination="db", intentions=[*intentions], jwt=jwt or [])


def deny(source: str = "web", *, dry_run: bool = False) -> Intention:
    return Intention(source=source, destination="db", action="deny", dry_run=dry_run)


def permissions(*given: tuple[Action, str], **more: object) -> Intention:
    rules = [
        Permission(action=action, http=HttpMatch(path_prefix=path, **more))  # type: ignore[arg-type]
        for action, path in given
    ]
    return Intention(source="web", destination="db", permissions=rules)


def counted(rules: Policy, *calls: Seen, default_allow: bool = True) -> list[Refusal]:
    tally = Tally()
    for call in calls:
        tally.note([Held(rules, default_allow)], call, 1.0)
    return tally.all()


def entries(rules: Policy, *calls: Seen, default_allow: bool = True) -> list[tuple[str, str, int]]:
    found = counted(rules, *calls, default_allow=default_allow)
    return [(one.kind, one.entry, one.count) for one in found]


def test_several_calls_may_be_told_of_at_once() -> None:
    told = Seen(caller=uri("web"), denied=True, count=7)
    assert entries(policy(deny()), told, told) == [("denied", WEB, 14)]
    tally = Tally()
    tally.note([Held(policy(deny()), True)], told, 1.0)
    assert tally.calls["denied"] == 7


def test_a_connection_that_ended_was_cut_if_its_caller_was_denied_by_then() -> None:
    ended = Seen(caller=uri("web"), denied=True, ended=True, connection="1 ended")
    assert entries(policy(deny()), ended, ended) == [("denied", WEB, 1)]
    assert entries(policy(deny("api")), ended) == []
    assert entries(policy(), ended, default_allow=False) == [("denied", "", 1)]


WEB = "service-intentions/db Sources[web]"


def test_what_sidecars_did_is_counted_under_the_rule_that_decided() -> None:
    assert entries(policy(deny()), seen(), seen()) == [("denied", WEB, 2)]
    assert entries(policy(deny("*")), seen()) == [("denied", "service-intentions/db Sources[*]", 1)]
    assert entries(policy(), seen(), default_allow=False) == [("denied", "", 1)]
    some = policy(permissions(("allow", "/a"), ("deny", "/")))
    assert entries(some, seen(path="/b?a")) == [("denied", f"{WEB}.Permissions[1]", 1)]


def test_dry_runs_are_counted_where_they_differ() -> None:
    trying = policy(deny(dry_run=True))
    assert entries(trying, seen(denied=False, shadow="denied")) == [("would-deny", WEB, 1)]
    freeing = policy(
        Intention(source="web", destination="db", action="allow", dry_run=True), deny("*")
    )
    assert entries(freeing, seen(shadow="allowed")) == [
        ("denied", "service-intentions/db Sources[*]", 1),
        ("would-allow", WEB, 1),
    ]
    assert entries(policy(deny(dry_run=True), deny()), seen(shadow="denied")) == [
        ("denied", WEB, 1)
    ]


def test_where_headers_or_tokens_may_have_decided_it_is_the_intention() -> None:
    headers = [HeaderMatch(name="x", present=True)]
    assert entries(policy(permissions(("deny", "/"), headers=headers)), seen()) == [
        ("denied", WEB, 1)
    ]
    needs = [JwtNeed(provider="okta")]
    claims = Permission(action="allow", jwt=needs)
    picky = Intention(source="web", destination="db", permissions=[claims])
    assert entries(policy(picky), seen(), default_allow=False) == [("denied", WEB, 1)]
    bare = Seen(caller=uri("web"), denied=True, by_token=True, method="GET")
    assert entries(policy(picky, jwt=needs), bare) == [("denied", "service-intentions/db JWT", 1)]
    needy = policy(deny("*"), jwt=needs)
    assert entries(needy, seen()) == [("denied", "service-intentions/db Sources[*]", 1)]
    assert entries(policy(jwt=needs), seen()) == [("denied", "service-intentions/db JWT", 1)]


def test_a_rule_that_changed_before_the_news_came_is_not_made_up() -> None:
    (one,) = counted(policy(), seen())
    assert (one.rule, one.entry) == ("a rule that has changed since", "")
    tally = Tally()
    tally.note([Held(policy(), True), Held(policy(deny()), True)], seen(), 1.0)
    assert [one.entry for one in tally.all()] == [WEB]


def test_a_connection_counts_once_however_often_it_is_told_of() -> None:
    def told(number: int) -> Seen:
        return Seen(caller=uri("web"), denied=True, connection=str(number))

    assert entries(policy(deny()), told(1), told(1), told(2)) == [("denied", WEB, 2)]
    tally = Tally()
    for number in range(CONNECTIONS_MAX + 10):
        tally.note([Held(policy(deny()), True)], told(number), 1.0)
    assert not tally.note([Held(policy(deny()), True)], told(CONNECTIONS_MAX), 1.0)


def test_ends_of_connections_that_nobody_cut_crowd_out_none_that_is_open() -> None:
    tally, held = Tally(), [Held(policy(deny(dry_run=True)), True)]
    still = seen(denied=False, shadow="denied", connection="open")
    tally.note(held, still, 1.0)
    for number in range(CONNECTIONS_MAX + 1):
        end = Seen(caller=uri("web"), denied=True, ended=True, connection=f"{number} ended")
        tally.note(held, end, 1.0)
    tally.note(held, still, 1.0)
    assert [(one.kind, one.count) for one in tally.all()] == [("would-deny", 1)]


def test_examples_are_few_and_have_no_queries() -> None:
    calls = [seen(path=f"/{number % 9}?secret") for number in range(20)]
    (one,) = counted(policy(deny()), *calls)
    assert one.examples == [f"GET /{number}" for number in range(EXAMPLES_MAX)]
    assert one.count == 20


def test_pairs_are_bounded_and_the_latest_stay() -> None:
    calls = [seen(f"web-{number}") for number in range(REFUSALS_MAX + 5)]
    found = {one.source for one in counted(policy(deny("*")), *calls)}
    assert len(found) == REFUSALS_MAX
    assert f"web-{REFUSALS_MAX + 4}" in found
    assert "web-0" not in found


def test_what_the_report_lacks_is_counted() -> None:
    tally, held = Tally(), [Held(policy(deny("*")), True)]
    for number in range(REFUSALS_MAX + 2):
        tally.note(held, seen(f"web-{number}"), 0.0)
        tally.note(held, seen(f"web-{number}"), 1.0)
    tally.note(held, Seen(caller="", denied=True), 1.0)
    tally.note(held, seen(denied=False, shadow="denied"), 1.0)
    # The dry run's pair put out the third of the first ones.
    assert tally.dropped == {"no_identity": 1, "calls": 6, "lines": REFUSALS_MAX + 2}
    wanted = {"denied": 2 * (REFUSALS_MAX + 2), "would-deny": 1, "would-allow": 0}
    assert tally.calls == wanted


def test_callers_that_are_no_services_are_named_by_their_identity() -> None:
    agent = "spiffe://td.consul/agent/client/dc/dc1/id/n1"
    call = Seen(caller=agent, denied=True, method="GET", path="/")
    (one,) = counted(policy(), call, default_allow=False)
    assert one.source == agent
    assert counted(policy(deny()), Seen(caller="", denied=True)) == []


def test_a_pair_is_logged_once_a_minute() -> None:
    tally, rules = Tally(), policy(deny("*"))
    for now in (0.0, 1.0, LOG_SECONDS - 1, LOG_SECONDS + 1):
        tally.note([Held(rules, True)], seen(), now)
        tally.note([Held(rules, True)], seen(denied=False, shadow="denied"), now)
    lines = tally.lines()
    rule = 'denied: web => db: the intention from "*" to "db" says deny'
    assert lines == [f"{rule} (service-intentions/db Sources[*])"] * 2
    assert tally.lines() == []


def test_a_dry_run_that_is_gone_is_forgotten_and_what_is_old_too() -> None:
    tally = Tally()
    tally.note([Held(policy(deny(dry_run=True)), True)], seen(denied=False, shadow="denied"), 1.0)
    tally.note([Held(policy(deny()), True)], seen(), 1.0)
    assert not tally.settle(policy(deny(dry_run=True)))
    assert tally.settle(policy(deny()))
    assert [one.kind for one in tally.all()] == ["denied"]
    tally.forget(8 * 86400.0)
    assert tally.all() == []


def test_counting_goes_on_from_an_earlier_life() -> None:
    first, second = Tally(), Tally()
    first.note([Held(policy(deny()), True)], seen(path="/a"), 1.0)
    second.note([Held(policy(deny()), True)], seen(path="/b"), 5.0)
    second.add(first.all())
    (one,) = second.all()
    assert (one.count, one.first, one.last) == (2, 1.0, 5.0)
    assert one.examples == ["GET /a", "GET /b"]
