"""Sessions: what ends them, what they held then, and who may lock it when."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mesh.errors import Conflict, Invalid
from mesh.registry import catalog, kv, sessions
from mesh.registry.catalog import Check, Deregister, Node, Register, Service
from mesh.registry.imports import Merge
from mesh.registry.levels import HIGHEST
from mesh.registry.port import Query
from mesh.registry.sessions import Create, Destroy, Expire, Session, Sweep
from mesh.store.order import ORDERED_MIN
from mesh.store.snapshot import freeze, thaw
from tests.registry.world import S1, S2, S3, World, identity

T = TypeVar("T")


@pytest.fixture
def world() -> World:
    return World()


def test_a_session_has_defaults(world: World) -> None:
    assert world.begin() == S1
    found = world.ask(sessions.Info(S1))
    assert found == Session(
        id=S1,
        node="n1",
        lock_delay=15_000_000_000,
        behavior="release",
        ttl="",
        node_checks=["serfHealth"],
        create_index=world.database.index,
        modify_index=world.database.index,
    )
    assert world.ask(sessions.OfNode("N1")) == [found]
    assert world.ask(sessions.OfNode("n2")) == []
    assert world.ask(sessions.Info(S2)) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"node": "n9"}, 'Node: there is no node "n9"'),
        ({"node_checks": ("db",)}, 'NodeChecks: node n1 has no check "db"'),
        ({"service_checks": ("web",)}, 'ServiceChecks: node n1 has no check "web"'),
        ({"node_checks": ("bad",)}, 'NodeChecks: check "bad" of node n1 is critical'),
    ],
)
def test_what_it_rests_on_must_be_there(world: World, fields: Any, words: str) -> None:
    world.check("critical", id="bad")
    with pytest.raises(Conflict, match=words):
        world.begin(**fields)
    assert world.alive() == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"id": "x"}, "ID: expected a UUID"),
        ({"node": ""}, "Node: must not be empty"),
        ({"behavior": "keep"}, "Behavior: expected release or delete"),
        ({"lock_delay": -1}, "LockDelay: expected 0s to 60s"),
        ({"lock_delay": 60_000_000_001}, "LockDelay: expected 0s to 60s"),
        ({"ttl": "soon"}, "TTL: expected a duration"),
        ({"ttl": "25h"}, "TTL: expected 1ms to 24h"),
        ({"ttl": "-10s"}, "TTL: expected 1ms to 24h"),
        ({"node_checks": ("c",) * 257}, "more than 256"),
    ],
)
def test_nonsense_is_refused(fields: Any, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        Create(**({"id": S1, "node": "n1"} | fields)).validate()


def test_the_shortest_ttl_is_an_option() -> None:
    create = Create(S1, "n1", ttl="9s")
    create.check_ttl(9.0)
    with pytest.raises(Invalid, match=r"expected 10s \[session_ttl_min\] to 24h"):
        create.check_ttl(10.0)
    Create(S1, "n1", ttl="0s").check_ttl(10.0)


def test_acquire_and_release(world: World) -> None:
    world.begin(S1)
    world.begin(S2)
    assert world.acquire("lock", S1, b"one")
    taken = world.pair("lock")
    assert (taken.lock_index, taken.session, taken.value) == (1, S1, b"one")
    # The same holder writes it again, a stranger neither takes nor gives it.
    assert world.acquire("lock", S1, b"two")
    assert (world.pair("lock").lock_index, world.pair("lock").value) == (1, b"two")
    assert not world.acquire("lock", S2)
    assert not world.do(kv.Release("lock", b"", S2))
    assert not world.do(kv.Release("none", b"", S1))
    assert world.do(kv.Release("lock", b"three", S1, 7))
    free = world.pair("lock")
    assert (free.lock_index, free.session, free.value, free.flags) == (1, "", b"three", 7)
    # An orderly release has no lock-delay.
    assert world.acquire("lock", S2)
    assert world.pair("lock").lock_index == 2


def test_acquire_with_a_check_index(world: World) -> None:
    world.begin()
    acquire = kv.Acquire("a", b"x", S1, 0, 0)
    assert world.do(acquire)
    assert not world.do(acquire)
    index = world.pair("a").modify_index
    assert world.do(msgspec.structs.replace(acquire, value=b"y", check_index=index))
    assert (world.pair("a").value, world.pair("a").lock_index) == (b"y", 1)


def test_an_unknown_session_cannot_lock(world: World) -> None:
    with pytest.raises(Conflict, match="invalid session"):
        world.acquire("lock", S1)
    with pytest.raises(Conflict, match="invalid session"):
        world.acquire("lock", "")
    assert not world.do(kv.Release("lock", b"", ""))


def test_equal_writes_of_the_holder_move_nothing(world: World) -> None:
    world.begin()
    world.acquire("lock", S1, b"x")
    before = world.pair("lock")
    world.acquire("lock", S1, b"x")
    assert world.pair("lock") == before


def test_locks_are_advisory(world: World) -> None:
    world.begin()
    world.acquire("lock", S1, b"x")
    assert world.do(kv.Set("lock", b"stranger"))
    found = world.pair("lock")
    assert (found.session, found.lock_index, found.value) == (S1, 1, b"stranger")
    assert world.do(kv.Delete("lock"))
    world.do(Destroy(S1))
    assert world.ask(kv.Get("lock")) is None


def test_the_end_releases_keys(world: World) -> None:
    world.begin()
    world.acquire("a", S1, b"x")
    before = world.pair("a")
    assert world.do(Destroy(S1.upper()))
    after = world.pair("a")
    assert (after.session, after.value, after.lock_index) == ("", b"x", 1)
    assert after.modify_index > before.modify_index
    assert world.alive() == []
    assert world.do(Destroy(S1))


def test_the_end_deletes_keys(world: World) -> None:
    world.begin(behavior="delete")
    world.acquire("a", S1)
    world.do(Destroy(S1))
    assert world.ask(kv.Get("a")) is None


@pytest.mark.parametrize("behavior", ["release", "delete"])
def test_lock_delay(world: World, behavior: str) -> None:
    world.begin(S1, behavior=behavior)
    world.begin(S2)
    world.acquire("a", S1)
    world.do(Destroy(S1))
    assert not world.acquire("a", S2)
    assert world.do(kv.Set("a", b"plain writes go on"))
    world.now += 14.9
    assert not world.acquire("a", S2)
    world.now += 0.1
    assert world.acquire("a", S2)
    assert world.ask(sessions.All())[0].id == S2
    assert not world.database.contents["lock-delays"].rows


def test_no_lock_delay(world: World) -> None:
    world.begin(S1, lock_delay=0)
    world.begin(S2)
    world.acquire("a", S1)
    world.do(Destroy(S1))
    assert world.acquire("a", S2)


def test_delays_that_are_over_are_swept(world: World) -> None:
    world.begin(S1)
    world.begin(S2, lock_delay=60_000_000_000)
    for number in range(5):
        world.acquire(f"a{number}", S1)
    world.acquire("b", S2)
    world.do(Destroy(S1))
    world.do(Destroy(S2))
    assert world.do(Sweep()) == 0
    world.now += 16.0
    assert world.do(Sweep()) == 5
    assert list(world.database.contents["lock-delays"].rows) == ["b"]


def test_sessions_end_with_their_check(world: World) -> None:
    web = Service(node="", id="web", name="web")
    up = Check(node="n1", id="web", status="passing", service_id="web")
    world.do(Register(Node(name="n1"), web, [up], skip_node_update=True))
    world.begin(S1, service_checks=("web",))
    world.begin(S2)
    world.begin(S3, node_checks=())
    world.check("warning", id="web", service_id="web")
    assert world.alive() == [S1, S2, S3]
    world.check("critical", id="web", service_id="web")
    assert world.alive() == [S2, S3]
    world.check("critical")
    assert world.alive() == [S3]


@pytest.mark.parametrize(
    ("gone", "left"),
    [
        (Deregister("n1", check_id="web"), [S2]),
        (Deregister("n1", service_id="web"), [S2]),
        (Deregister("n1", check_id="serfHealth"), [S1]),
        (Deregister("n1"), []),
    ],
)
def test_sessions_end_with_what_is_deregistered(
    world: World, gone: Deregister, left: list[str]
) -> None:
    web = Service(node="", id="web", name="web")
    up = Check(node="n1", id="web", status="passing", service_id="web")
    world.do(Register(Node(name="n1"), web, [up], skip_node_update=True))
    world.begin(S1, node_checks=(), service_checks=("web",))
    world.begin(S2)
    world.acquire("a", S1)
    world.do(gone)
    assert world.alive() == left
    assert bool(world.pair("a").session) == (S1 in left)


def test_a_node_that_takes_anothers_id_ends_its_sessions(world: World) -> None:
    node = Node(name="old", address="10.0.0.2", id="11111111-0000-4000-8000-000000000000")
    world.do(Register(node))
    world.begin(S1, node="old", node_checks=())
    world.do(Register(msgspec.structs.replace(node, name="new")))
    assert world.alive() == []


def test_expired_ones_end_together(world: World) -> None:
    world.begin(S1)
    world.begin(S2)
    world.begin(S3)
    assert world.do(Expire((S1, S3, identity(9)))) == 2
    assert world.alive() == [S2]
    with pytest.raises(Invalid, match="at most 128"):
        Expire(tuple(map(identity, range(129)))).validate()


def test_a_check_follows_the_session_it_names(world: World) -> None:
    definition = {"SessionName": "leader"}
    follows: Any = {"id": "led", "kind": "session", "definition": definition}
    world.check("passing", **follows)

    def status() -> str:
        found = world.ask(catalog_checks())
        return next(check.status for check in found if check.id == "led")

    assert status() == "critical"
    world.begin(S1, name="leader")
    world.begin(S2, name="leader")
    assert status() == "passing"
    world.check("critical", **follows)
    assert status() == "passing"
    world.do(Destroy(S1))
    assert status() == "passing"
    world.do(Destroy(S2))
    assert status() == "critical"


def catalog_checks() -> Query[list[Check]]:
    class Every(Query[list[Check]], frozen=True):
        def run(self, view: Any) -> list[Check]:
            return list(view.every(catalog.CHECKS))

    return Every()


def test_a_long_chain_of_sessions_ends_at_once(world: World) -> None:
    """Each session rests on a check that follows the one before."""
    length = 3000
    world.begin(identity(0), name="s0")
    for number in range(1, length):
        name = f"c{number}"
        before: Any = {"SessionName": f"s{number - 1}"}
        world.check("passing", id=name, kind="session", definition=before)
        world.begin(identity(number), name=f"s{number}", node_checks=(name,))
    assert len(world.alive()) == length
    world.do(Destroy(identity(0)))
    assert world.alive() == []


KEYS = ["a", "a/b", "c"]
NODES = ["n1", "n2"]


class Locks(RuleBasedStateMachine):
    """Random writes, against a model that is as simple as can be."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.world.node("n2")
        self.made = 0
        self.up = dict.fromkeys(NODES, True)
        self.sessions: dict[str, tuple[str, str, float]] = {}
        """Node, behavior and lock-delay in seconds."""
        self.holder: dict[str, str] = {}
        self.count: dict[str, int] = {}
        """The lock index of each key that exists."""
        self.until: dict[str, float] = {}

    def _ended(self, gone: str) -> None:
        _, behavior, delay = self.sessions.pop(gone)
        for key, holder in list(self.holder.items()):
            if holder == gone:
                del self.holder[key]
                if behavior == "delete":
                    del self.count[key]
                self.until[key] = self.world.now + delay

    @rule(
        node=st.sampled_from(NODES),
        behavior=st.sampled_from(sessions.BEHAVIORS),
        delay=st.sampled_from([0, 5, 15]),
    )
    def create(self, node: str, behavior: str, delay: int) -> None:
        self.made += 1
        one = identity(self.made)
        fields: Any = {"node": node, "behavior": behavior, "lock_delay": delay * 10**9}
        if self.up[node]:
            self.world.begin(one, **fields)
            self.sessions[one] = (node, behavior, delay)
        else:
            with pytest.raises(Conflict):
                self.world.begin(one, **fields)

    @precondition(lambda self: self.made)
    @rule(data=st.data(), key=st.sampled_from(KEYS), value=st.sampled_from([b"1", b"2"]))
    def acquire(self, data: st.DataObject, key: str, value: bytes) -> None:
        one = identity(data.draw(st.integers(1, self.made)))
        if one not in self.sessions:
            with pytest.raises(Conflict):
                self.world.acquire(key, one, value)
            return
        holder = self.holder.get(key)
        free = holder is None and self.until.get(key, 0.0) <= self.world.now
        assert self.world.acquire(key, one, value) == (free or holder == one)
        if free:
            self.holder[key] = one
            self.count[key] = self.count.get(key, 0) + 1

    @precondition(lambda self: self.made)
    @rule(data=st.data(), key=st.sampled_from(KEYS))
    def release(self, data: st.DataObject, key: str) -> None:
        one = identity(data.draw(st.integers(1, self.made)))
        held = self.holder.get(key) == one
        assert self.world.do(kv.Release(key, b"", one)) == held
        if held:
            del self.holder[key]

    @rule(key=st.sampled_from(KEYS), value=st.sampled_from([b"1", b"3"]))
    def write(self, key: str, value: bytes) -> None:
        self.world.do(kv.Set(key, value))
        self.count.setdefault(key, 0)

    @rule(key=st.sampled_from(KEYS), under=st.booleans())
    def delete(self, key: str, under: bool) -> None:
        self.world.do(kv.DeleteUnder(key) if under else kv.Delete(key))
        for gone in KEYS:
            if gone == key or (under and gone.startswith(key)):
                self.holder.pop(gone, None)
                self.count.pop(gone, None)

    @precondition(lambda self: self.made)
    @rule(data=st.data(), expired=st.booleans())
    def destroy(self, data: st.DataObject, expired: bool) -> None:
        one = identity(data.draw(st.integers(1, self.made)))
        if expired:
            assert self.world.do(Expire((one,))) == (one in self.sessions)
        else:
            assert self.world.do(Destroy(one))
        if one in self.sessions:
            self._ended(one)

    @rule(node=st.sampled_from(NODES), up=st.booleans())
    def health(self, node: str, up: bool) -> None:
        self.world.check("passing" if up else "critical", node)
        self.up[node] = up
        if not up:
            self._all_of(node)

    @rule(node=st.sampled_from(NODES))
    def remove(self, node: str) -> None:
        self.world.do(Deregister(node))
        self._all_of(node)
        self.world.node(node)
        self.up[node] = True

    def _all_of(self, node: str) -> None:
        for one, (owner, _, _) in list(self.sessions.items()):
            if owner == node:
                self._ended(one)

    @rule(seconds=st.sampled_from([1.0, 6.0, 20.0]), sweep=st.booleans())
    def wait(self, seconds: float, sweep: bool) -> None:
        self.world.now += seconds
        if sweep:
            self.world.do(Sweep())

    @invariant()
    def tables_are_as_the_model_says(self) -> None:
        pairs = {pair.key: pair for pair in self.world.ask(kv.Under(""))}
        assert {key: pair.lock_index for key, pair in pairs.items()} == self.count
        held = {key: pair.session for key, pair in pairs.items() if pair.session}
        assert held == self.holder
        assert self.world.alive() == sorted(self.sessions)
        late = self.world.database.contents["lock-delays"].rows
        assert {key for key, until in self.until.items() if until > self.world.now} <= set(late)


TestLocks = Locks.TestCase
TestLocks.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_restarted_server_ends_the_same_sessions_when_each_names_a_check_twice() -> None:
    world = World()
    both = {"node_checks": ("serfHealth",), "service_checks": ("serfHealth",)}
    for number in range(ORDERED_MIN + 2):
        world.begin(identity(number), **both)
    restarted = World()
    thaw(restarted.database, filter(None, freeze(world.database, HIGHEST))).install()
    for one in (world, restarted):
        one.do(Destroy(identity(ORDERED_MIN + 1)))
        one.check("critical")
        assert one.ask(sessions.All()) == []


def test_checks_that_follow_an_imported_session_pass() -> None:
    world = World()
    check = Check(node="", id="c", kind="session", definition={"SessionName": "x"})
    node = Register(Node(name="n1"), checks=[check], skip_node_update=True)
    merge = Merge([node], [Session(id=S1, node="n1", name="x")])
    assert world.do(merge) > 0
    assert world.database.contents["checks"].rows["n1", "c"].status == "passing"
