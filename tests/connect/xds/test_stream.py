"""The discovery protocol: scripted clients, and a model of Envoy under random changes."""

from __future__ import annotations

import random

import pytest

from mesh.connect.xds.snapshot import (
    CLUSTER,
    ENDPOINTS,
    FILTER,
    LISTENER,
    ROUTES,
    SECRET,
    Ref,
    Resource,
    Snapshot,
    snapshot,
)
from mesh.connect.xds.stream import GRACE_SECONDS, NAMES_MAX, Change, Request, Stream
from mesh.errors import TooLarge
from tests.connect.xds.envoy_model import Envoy

SEEDS = range(100)


def one(
    kind: str, name: str, content: str = "1", *children: Ref, needs: tuple[str, ...] = ()
) -> Resource:
    text = f"{name}={content}"
    return Resource(
        kind=kind, name=name, version=text, packed=text.encode(), children=children, needs=needs
    )


def cluster(name: str, content: str = "1") -> list[Resource]:
    """A cluster with its endpoints."""
    return [one(CLUSTER, name, content, Ref(ENDPOINTS, name)), one(ENDPOINTS, name)]


def names(changes: list[Change]) -> list[tuple[str, list[str], list[str]]]:
    return [
        (change.kind, [resource.name for resource in change.put], change.removed)
        for change in changes
    ]


class Client:
    """A scripted client of the delta form."""

    def __init__(self, *resources: Resource) -> None:
        self.stream = Stream()
        self.now = 0.0
        self.put(*resources)

    def put(self, *resources: Resource) -> None:
        self.stream.put(snapshot([*resources]))

    def say(self, kind: str, **fields: object) -> list[Change]:
        self.stream.receive(Request(kind=kind, **fields), self.now)  # type: ignore[arg-type]
        return self.due()

    def due(self) -> list[Change]:
        return self.stream.due(self.now)

    def accept(self, changes: list[Change]) -> list[Change]:
        for change in changes:
            self.stream.receive(Request(kind=change.kind, nonce=change.nonce), self.now)
        return self.due()

    def accept_all(self, changes: list[Change]) -> None:
        while changes:
            changes = self.accept(changes)


def test_nothing_is_said_before_there_is_a_snapshot() -> None:
    stream = Stream()
    stream.receive(Request(kind=CLUSTER, subscribe=("*",)), 0)
    assert stream.due(0) == []
    stream.put(snapshot([]))
    assert names(stream.due(0)) == [(CLUSTER, [], [])]


def test_an_empty_wildcard_is_answered_once() -> None:
    client = Client()
    changes = client.say(LISTENER)
    assert names(changes) == [(LISTENER, [], [])]
    assert client.accept(changes) == []
    assert client.say(LISTENER) == []


def test_the_newest_snapshot_is_sent_after_the_answer_and_none_is_queued() -> None:
    client = Client(*cluster("a"))
    changes = client.say(CLUSTER)
    for content in "23456":
        client.put(*cluster("a", content))
        assert client.due() == []
    (change,) = client.accept(changes)
    assert [resource.version for resource in change.put] == ["a=6"]


def test_an_overtaken_nonce_answers_nothing() -> None:
    client = Client(*cluster("a"))
    (change,) = client.say(CLUSTER)
    assert client.say(CLUSTER, nonce="0") == []
    client.put(*cluster("a", "2"))
    assert client.due() == []
    assert client.accept([change]) != []


def test_endpoints_are_sent_again_when_their_cluster_changes() -> None:
    client = Client(*cluster("a"), *cluster("b"))
    client.accept_all(client.say(CLUSTER))
    client.accept_all(client.say(ENDPOINTS, subscribe=("a", "b")))
    client.put(*cluster("a", "2"), *cluster("b"))
    assert names(client.due()) == [(CLUSTER, ["a"], []), (ENDPOINTS, ["a"], [])]


def test_endpoints_in_flight_when_their_cluster_changes_are_sent_again_after_it() -> None:
    client = Client(*cluster("a"))
    client.accept_all(client.say(CLUSTER))
    flying = client.say(ENDPOINTS, subscribe=("a",))
    client.put(*cluster("a", "2"))
    assert names(client.due()) == [(CLUSTER, ["a"], [])]
    assert names(client.accept(flying)) == [(ENDPOINTS, ["a"], [])]


def test_a_listener_waits_for_its_cluster_with_endpoints() -> None:
    listener = one(LISTENER, "l", needs=("a",))
    client = Client(*cluster("a"), listener)
    changes = client.say(CLUSTER)
    assert client.say(LISTENER) == []
    assert client.accept(changes) == []
    endpoints = client.say(ENDPOINTS, subscribe=("a",))
    assert names(endpoints) == [(ENDPOINTS, ["a"], [])]
    assert names(client.accept(endpoints)) == [(LISTENER, ["l"], [])]


def test_a_listener_does_not_wait_for_ever() -> None:
    client = Client(*cluster("a"), one(LISTENER, "l", needs=("a",)))
    client.accept_all(client.say(CLUSTER))
    assert client.say(LISTENER) == []
    assert client.stream.waiting()
    client.now = GRACE_SECONDS
    assert names(client.due()) == [(LISTENER, ["l"], [])]


def test_a_listener_of_a_refused_cluster_is_left_out() -> None:
    client = Client(*cluster("a"), one(LISTENER, "l", needs=("a",)), one(LISTENER, "m"))
    (change,) = client.say(CLUSTER)
    assert client.say(CLUSTER, nonce=change.nonce, error="bad") == []
    changes = client.say(LISTENER)
    assert names(changes) == [(LISTENER, ["m"], [])]
    client.now = GRACE_SECONDS
    assert client.accept(changes) == []


def test_a_cluster_goes_after_the_listener_that_used_it() -> None:
    client = Client(*cluster("a"), *cluster("b"), one(LISTENER, "l", needs=("a",)))
    client.accept_all(client.say(CLUSTER))
    client.accept_all(client.say(ENDPOINTS, subscribe=("a", "b")))
    client.accept_all(client.say(LISTENER))
    client.put(*cluster("b"), one(LISTENER, "l", "2", needs=("b",)))
    changes = client.due()
    assert names(changes) == [(LISTENER, ["l"], [])]
    assert names(client.accept(changes)) == [(CLUSTER, [], ["a"])]


def test_what_was_refused_is_not_sent_again_before_it_changes() -> None:
    client = Client(one(LISTENER, "l"), one(LISTENER, "m"))
    (change,) = client.say(LISTENER)
    (rest,) = client.say(LISTENER, nonce=change.nonce, error="Error adding l: bad")
    assert names([rest]) == [(LISTENER, ["m"], [])]
    assert client.accept([rest]) == []
    assert client.say(LISTENER) == []
    client.put(one(LISTENER, "l"), one(LISTENER, "m", "2"))
    changes = client.due()
    assert names(changes) == [(LISTENER, ["m"], [])]
    client.put(one(LISTENER, "l", "2"), one(LISTENER, "m", "2"))
    assert names(client.accept(changes)) == [(LISTENER, ["l"], [])]


def test_when_it_is_not_said_which_is_bad_each_is_sent_alone() -> None:
    client = Client(*(one(SECRET, name) for name in "abc"))
    (change,) = client.say(SECRET, subscribe=("a", "b", "c"))
    tried, refused = [], 0
    changes = client.say(SECRET, nonce=change.nonce, error="bad")
    while changes:
        (change,) = changes
        (resource,) = change.put
        tried.append(resource.name)
        error = "bad" if resource.name == "b" else ""
        refused += bool(error)
        changes = client.say(SECRET, nonce=change.nonce, error=error)
    assert (tried, refused) == (["a", "b", "c"], 1)
    assert [*client.stream.topics[SECRET].have] == ["a", "c"]


def test_who_asks_for_what_there_is_not_is_told_so_once() -> None:
    client = Client(one(SECRET, "a"))
    (change,) = client.say(SECRET, subscribe=("a", "b"))
    assert names([change]) == [(SECRET, ["a"], ["b"])]
    assert client.accept([change]) == []
    client.put(one(SECRET, "a"), one(SECRET, "b"))
    assert names(client.due()) == [(SECRET, ["b"], [])]


def test_what_is_subscribed_by_name_is_never_removed() -> None:
    client = Client(one(FILTER, "rules"))
    client.accept_all(client.say(FILTER, subscribe=("rules",)))
    client.put()
    assert client.due() == []


def test_who_subscribes_again_is_sent_it_again() -> None:
    client = Client(one(SECRET, "a"))
    client.accept_all(client.say(SECRET, subscribe=("a",)))
    client.accept_all(client.say(SECRET, unsubscribe=("a",)))
    assert names(client.say(SECRET, subscribe=("a",))) == [(SECRET, ["a"], [])]


def test_a_client_that_comes_again_is_sent_what_changed_only() -> None:
    client = Client(*cluster("a"), *cluster("b"), one(LISTENER, "l", needs=("a",)))
    assert client.say(CLUSTER, subscribe=("*",), versions={"a": "a=1", "b": "b=1"}) == []
    changes = client.say(ENDPOINTS, subscribe=("a", "b"), versions={"a": "a=1", "b": "old"})
    assert names(changes) == [(ENDPOINTS, ["b"], [])]
    versions = {"l": "l=1", "gone": "gone=1"}
    assert names(client.say(LISTENER, subscribe=("*",), versions=versions)) == [
        (LISTENER, [], ["gone"])
    ]


def test_a_client_that_comes_again_keeps_clusters_until_its_listeners_are_known() -> None:
    client = Client(one(LISTENER, "l"))
    client.stream.receive(Request(kind=LISTENER, versions={"l": "old"}), 0)
    client.stream.receive(Request(kind=CLUSTER, versions={"a": "a=1"}), 0)
    changes = client.due()
    assert names(changes) == [(LISTENER, ["l"], [])]
    assert names(client.accept(changes)) == [(CLUSTER, [], ["a"])]


def test_too_many_names_are_refused() -> None:
    client = Client()
    with pytest.raises(TooLarge):
        client.say(SECRET, subscribe=tuple(str(number) for number in range(NAMES_MAX + 1)))


def test_large_answers_come_in_parts() -> None:
    large = [one(ENDPOINTS, str(number), "x" * 500_000) for number in range(9)]
    client = Client(*large)
    changes = client.say(ENDPOINTS, subscribe=tuple("012345678"))
    sizes = []
    while changes:
        sizes.append(len(changes[0].put))
        changes = client.accept(changes)
    assert sizes == [4, 4, 1]


# The state of the world.


def test_of_clusters_and_listeners_all_are_told_and_of_others_what_changed() -> None:
    stream = Stream(whole=True)
    stream.put(snapshot([*cluster("a"), *cluster("b")]))
    stream.receive(Request(kind=CLUSTER, names=()), 0)
    stream.receive(Request(kind=ENDPOINTS, names=("a", "b")), 0)
    first = stream.due(0)
    assert names(first) == [(CLUSTER, ["a", "b"], []), (ENDPOINTS, ["a", "b"], [])]
    for change in first:
        asked = () if change.kind == CLUSTER else ("a", "b")
        stream.receive(Request(kind=change.kind, nonce=change.nonce, names=asked), 0)
    stream.put(snapshot([*cluster("a", "2"), *cluster("b")]))
    assert names(stream.due(0)) == [(CLUSTER, ["a", "b"], []), (ENDPOINTS, ["a"], [])]


def test_a_client_that_asks_by_name_is_not_made_to_wait_for_clusters() -> None:
    """gRPC follows references: listener, routes, clusters, endpoints."""
    stream = Stream(whole=True)
    stream.put(snapshot([*cluster("a"), one(LISTENER, "xds", needs=("a",))]))
    stream.receive(Request(kind=LISTENER, names=("xds",)), 0)
    assert names(stream.due(0)) == [(LISTENER, ["xds"], [])]


def test_an_overtaken_request_of_the_whole_form_changes_no_names() -> None:
    stream = Stream(whole=True)
    stream.put(snapshot([one(SECRET, "a"), one(SECRET, "b")]))
    stream.receive(Request(kind=SECRET, names=("a",)), 0)
    (change,) = stream.due(0)
    stream.receive(Request(kind=SECRET, nonce="older", names=()), 0)
    stream.receive(Request(kind=SECRET, nonce=change.nonce, names=("a", "b")), 0)
    assert names(stream.due(0)) == [(SECRET, ["b"], [])]


# Random changes.


class World:
    """A server and Envoy with messages under way, and snapshots that change as they like."""

    def __init__(self, seed: int, *, whole: bool) -> None:
        self.random = random.Random(seed)
        self.whole = whole
        self.envoy = Envoy(whole=whole, names_errors=self.random.random() < 0.7)
        self.down: list[Change] = []
        self.up: list[Request] = []
        self.now = 0.0
        self.snapshot: Snapshot = snapshot([])
        self.change()
        self.reconnect()

    def reconnect(self) -> None:
        self.stream = Stream(whole=self.whole)
        self.stream.put(self.snapshot)
        self.down, self.up = [], []
        self.came_again = bool(self.envoy.received)
        self.envoy.connect()

    def change(self) -> None:
        """Any snapshot in which all that is referred to exists."""
        clusters = self.random.sample("abcde", self.random.randint(0, 5))
        found = [one(SECRET, "leaf", self._content())]
        for name in clusters:
            children = [Ref(ENDPOINTS, name), Ref(SECRET, "leaf")]
            found.append(one(CLUSTER, name, self._content(), *children))
            found.append(one(ENDPOINTS, name, self._content()))
        for name in self.random.sample("lmn", self.random.randint(0, 3)):
            needs = tuple(self.random.sample(clusters, min(len(clusters), 2)))
            children = [Ref(SECRET, "leaf"), Ref(FILTER, f"rules-{name}")]
            found.append(one(FILTER, f"rules-{name}", self._content()))
            if self.random.random() < 0.5:
                # What a route refers to stands in its content.
                content = f"{self._content()}-{'-'.join(needs)}"
                children.append(Ref(ROUTES, f"routes-{name}"))
                found.append(one(ROUTES, f"routes-{name}", content, needs=needs))
                needs = ()
            content = f"{self._content()}-{'-'.join(needs)}-{len(children)}"
            found.append(one(LISTENER, name, content, *children, needs=needs))
        self.snapshot = snapshot(found)
        if hasattr(self, "stream"):
            self.stream.put(self.snapshot)

    def _content(self) -> str:
        return self.random.choice("123")

    def step(self) -> None:
        """One message goes on, in whatever direction."""
        self.up += self.envoy.outbox
        self.envoy.outbox = []
        if self.down and (not self.up or self.random.random() < 0.5):
            self.envoy.take(self.down.pop(0))
        elif self.up:
            self.stream.receive(self.up.pop(0), self.now)
            self.down += self.stream.due(self.now)

    def settle(self) -> None:
        for _ in range(5000):
            self.down += self.stream.due(self.now)
            self.step()
            if self.down or self.up or self.envoy.outbox:
                continue
            self.down += self.stream.due(self.now)
            # What a client that comes again waits for cannot always be known.
            if not self.down and not (self.came_again and self.envoy.warming):
                return
            if not self.down:
                self.now += GRACE_SECONDS
                self.envoy.wait_long()
        pytest.fail("it does not come to rest")

    def check(self) -> None:
        """Envoy has all it was to have, and waits for nothing."""
        assert not self.envoy.warming
        refs = {*self.envoy.active}
        wanted = {
            Ref(kind, name): resource
            for kind in (CLUSTER, LISTENER)
            for name, resource in self.snapshot.of(kind).items()
        }
        assert refs == {*wanted}
        for ref, resource in wanted.items():
            assert self.envoy.active[ref].version == resource.version
        for ref, resource in self.envoy.named.items():
            assert resource.version == self.snapshot.of(ref.kind)[ref.name].version


@pytest.mark.parametrize("whole", [False, True], ids=["delta", "whole"])
def test_a_model_of_envoy_always_gets_what_it_is_to_have_in_an_order_it_can_bear(
    whole: bool,
) -> None:
    for seed in SEEDS:
        world = World(seed, whole=whole)
        for _ in range(world.random.randint(1, 12)):
            for _ in range(world.random.randint(0, 12)):
                world.step()
                world.down += world.stream.due(world.now)
            if world.random.random() < 0.1:
                world.reconnect()
            world.change()
        world.settle()
        try:
            world.check()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
        if not whole:
            received = world.envoy.received
            world.reconnect()
            world.settle()
            assert world.envoy.received == received, f"seed {seed}: something was sent again"


@pytest.mark.parametrize("whole", [False, True], ids=["delta", "whole"])
def test_what_envoy_refuses_is_tried_once_and_keeps_nothing_else_back(whole: bool) -> None:
    for seed in SEEDS:
        world = World(seed, whole=whole)
        bad = world.random.choice(["a=1", "leaf=2", "rules-l=1", "b=2"])
        world.envoy.bad = {bad}
        world.settle()
        for _ in range(8):
            world.change()
            world.settle()
            tries = world.envoy.refused.count(bad.partition("=")[0])
            world.stream.put(world.snapshot)
            world.settle()
            assert world.envoy.refused.count(bad.partition("=")[0]) == tries, f"seed {seed}"
        world.envoy.bad = set()
        world.reconnect()
        world.change()
        world.settle()
        world.check()
