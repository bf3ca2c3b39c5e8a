"""Whatever the order of steps, each leaf that lives is believed by everybody."""

from __future__ import annotations

from functools import cache

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mesh.connect import ca, identity, signing
from mesh.connect.ca import LeafSigner
from mesh.connect.keys import new_key
from mesh.connect.proof import progress
from mesh.errors import Conflict
from mesh.registry.authority import HOUR, Brought, Rules, Signed
from mesh.registry.workloads import Ack
from tests.connect.authority import DOMAIN, Office

NODES = st.sampled_from(["n1", "n2", "n3"])
STEPS = st.sampled_from(["next", "next", "retire", "renew", "take back"])
SELDOM = st.sampled_from([False, False, False, True])
CSR = signing.request_leaf(new_key("ec", 256), identity.service(DOMAIN, "dc1", "web").uri)


@cache
def signed_by(certificate: str, issuer: str) -> bool:
    return signing.is_signed_by(certificate, issuer)


def believes(leaf: Signed, roots: dict[str, str], now: float) -> bool:
    """Whether a way leads from the leaf to one of the roots, all of it valid now."""
    ways, seen = [leaf.certificate], set()
    while ways:
        present = ways.pop()
        if any(signed_by(present, root) for root in roots.values()):
            return True
        for above in leaf.chain:
            found = signing.facts(above)
            good = found.not_before <= now < found.not_after
            if above not in seen and good and signed_by(present, above):
                seen.add(above)
                ways.append(above)
    return False


class Rotation(RuleBasedStateMachine):
    """Three nodes, each with a leaf and the roots it believes; what they said may be older."""

    def __init__(self) -> None:
        super().__init__()
        self.office = Office()
        self.leaves: dict[str, Signed] = {}
        self.believed: dict[str, dict[str, str]] = {}
        self.pending: list[object] = []

    @rule(obtains=SELDOM)
    def everybody_catches_up(self, obtains: bool) -> None:
        for node in ("n1", "n2"):
            self.learn(node)
            if obtains or node not in self.leaves:
                self.leaves[node] = LeafSigner(self.office.state, "dc1").sign(CSR, self.office.now)
            self.tell(node)

    @rule(node=NODES)
    def learn(self, node: str) -> None:
        """The roots reach the node; the first time it says so before it asks for a leaf."""
        new = node not in self.believed
        self.believed[node] = ca.bundle(self.office.trust).roots
        if new:
            self.tell(node)

    @precondition(lambda self: self.believed)
    @rule(data=st.data())
    def obtain(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(sorted(self.believed)))
        self.leaves[node] = LeafSigner(self.office.state, "dc1").sign(CSR, self.office.now)

    @precondition(lambda self: self.believed)
    @rule(data=st.data())
    def say(self, data: st.DataObject) -> None:
        self.tell(data.draw(st.sampled_from(sorted(self.believed))))

    def tell(self, node: str) -> None:
        leaf = self.leaves[node].root if node in self.leaves else ""
        self.office.tell(node, Ack(id="leaf:web", roots=sorted(self.believed[node]), leaf=leaf))

    @rule(step=STEPS, crash=SELDOM, longer=SELDOM)
    def go_on(self, step: str, crash: bool, longer: bool) -> None:
        """A leader does it, or makes it and dies: then what it made may arrive later."""
        office, now = self.office, self.office.now
        state, reports = office.state, office.reports
        try:
            if step == "next" and state.prepared is None and not state.past:
                rules = Rules(leaf_cert_ttl=(300 if longer else 72) * HOUR)
                amend = ca.prepare(state, rules, Brought(), office.making)
            elif step == "next" and state.prepared is not None:
                amend = ca.activate(state, reports, 1.0, now)
            elif step in {"next", "retire"}:
                amend = ca.retire(state, reports, 1.0, now)
            elif step == "take back" and not state.past:
                amend = ca.retire(state, reports, 1.0, now, force=True)
            else:
                found = ca.renew(state, office.making)
                if found is None:
                    return
                amend = found
        except Conflict:
            return
        if crash:
            self.pending.append(amend)
        else:
            office.amend(amend)

    @precondition(lambda self: self.pending)
    @rule()
    def arrive_late(self) -> None:
        amend = self.pending.pop()
        try:
            self.office.amend(amend)  # type: ignore[arg-type]  # What go_on put there.
        except Conflict:
            return

    @rule(hours=st.sampled_from([1, 24, 80, 2000]))
    def pass_time(self, hours: int) -> None:
        """A year at most, so that no root ends."""
        if self.office.now + hours * HOUR < self.office.state.active.not_before + 8000 * HOUR:
            self.office.now += hours * HOUR

    @invariant()
    def every_live_leaf_is_believed(self) -> None:
        now = self.office.now
        for node, leaf in self.leaves.items():
            if leaf.valid_before <= now:
                continue
            for other, roots in self.believed.items():
                assert believes(leaf, roots, now), f"{other} does not believe the leaf of {node}"

    @invariant()
    def there_is_one_active_root(self) -> None:
        standings = [root.standing for root in self.office.state.roots.values()]
        assert standings.count("active") == 1
        assert standings.count("prepared") <= 1
        assert set(self.office.state.keys) == set(self.office.state.roots)


TestRotation = Rotation.TestCase
TestRotation.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_progress_says_what_comes_next() -> None:
    office = Office()
    assert progress(office.trust, office.reports, office.now).phase == "steady"
    old = office.state.active.id
    office.tell("n1", Ack(id="proxy:p", roots=[old], leaf=old))
    office.amend(ca.prepare(office.state, Rules(), Brought(), office.making))
    found = progress(office.trust, office.reports, office.now)
    assert (found.phase, found.workloads, found.waiting) == ("prepared", 1, ["proxy:p on n1"])
    assert [(root.standing, root.believed, root.leaves) for root in found.roots] == [
        ("active", 1, 1),
        ("prepared", 0, 0),
    ]
    office.tell("n1", Ack(id="proxy:p", roots=sorted(office.state.roots), leaf=old))
    assert progress(office.trust, office.reports, office.now).next == "activate"
    office.amend(ca.activate(office.state, office.reports, 1.0, office.now))
    assert progress(office.trust, office.reports, office.now).waiting == ["proxy:p on n1"]
    office.tell("n1", Ack(id="proxy:p", roots=sorted(office.state.roots), leaf=""))
    assert progress(office.trust, office.reports, office.now).waiting == ["proxy:p on n1"]
