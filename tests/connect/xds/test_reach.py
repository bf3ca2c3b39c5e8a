"""Who loses the right to connect, as the evaluator sees it."""

from __future__ import annotations

from mesh.connect.intentions import decide
from mesh.connect.xds import rbac
from mesh.connect.xds.blueprint import Blueprint
from mesh.connect.xds.reach import EVERYBODY, Reach, judged
from tests.connect.xds.guesses import CALLERS, Guess
from tests.connect.xds.signing import Issuer, Signer

POLICIES = 300
BUNDLE = Signer().bundle()


def everybody(**fields: object) -> Reach:
    plain = Reach(trust_domain="td", strangers=True, others=True, named=frozenset())
    return type(plain)(
        **({name: getattr(plain, name) for name in plain.__struct_fields__} | fields)
    )


def test_somebody_loses_when_the_evaluator_says_so() -> None:
    guess = Guess(11, Issuer("okta"))
    before: dict[str, bool] | None = None
    reach: Reach | None = None
    kept = 0
    for _ in range(POLICIES):
        policy, default_allow = guess.policy(), guess.random.random() < 0.8
        blueprint = Blueprint(
            proxy="payments",
            service="payments",
            node="n",
            datacenter="dc1",
            bundle=BUNDLE,
            leaf=None,
            inbound=None,
            policy=policy,
            default_allow=default_allow,
        )
        callers = [*CALLERS, "one-that-nobody-named"]
        now = {one: decide(policy, one, None, default_allow).allowed for one in callers}
        later = rbac.reach(blueprint)
        assert {one: later.may(one) for one in callers} == now, policy
        assert EVERYBODY.exceeds(later)
        if before is not None and reach is not None:
            lost = any(before[one] and not now[one] for one in callers)
            assert reach.exceeds(later) >= lost, policy
            kept += not reach.exceeds(later)
        before, reach = now, later
    assert kept, "there were changes that take nothing away"


def test_what_takes_nothing_away_leaves_the_mark() -> None:
    all_but_web = everybody(named=frozenset({"web"}))
    nobody = everybody(strangers=False, others=False)
    first = judged(all_but_web, None)
    assert judged(all_but_web, None) == first
    wider = judged(everybody(), first)
    assert wider.mark == first.mark
    assert wider.reach == everybody()
    for less in (all_but_web, nobody, everybody(trust_domain="other"), everybody(strangers=False)):
        assert judged(less, wider).mark != first.mark


def test_names_have_no_case_and_a_list_either_meaning() -> None:
    only_web = everybody(strangers=False, others=False, named=frozenset({"web"}))
    assert only_web.may("WEB")
    assert not only_web.may("api")
    both = everybody(strangers=False, others=False, named=frozenset({"web", "api"}))
    assert both.exceeds(only_web)
    assert not only_web.exceeds(both)
    all_but_api = everybody(strangers=False, named=frozenset({"api"}))
    assert all_but_api.exceeds(only_web)
    assert not only_web.exceeds(all_but_api)
    assert both.exceeds(all_but_api)
