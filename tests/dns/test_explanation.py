"""Explanations: they say of every instance what DNS really does with it."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.agent.explained import Asking, Explanation
from mesh.clock import SeededDice, SystemClock
from mesh.dns.explanation import explain
from mesh.dns.options import Options
from mesh.dns.recursion import Recursion
from mesh.dns.resolver import Resolver
from mesh.errors import Invalid, NoLeader
from mesh.registry.catalog import Check, Node, Register, Service
from mesh.registry.prepared import Create
from mesh.registry.prepared_rows import Prepared, ServiceQuery
from tests.dns.script import World
from tests.registry_memory import MemoryRegistry

STATUSES = st.sampled_from(["passing", "warning", "critical", "maintenance"])
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "web.example.com", ""])
INSTANCES = st.lists(
    st.tuples(STATUSES, ADDRESSES, st.sampled_from([[], ["v1"], ["V1", "v2"]])), max_size=12
)


def register(registry: MemoryRegistry, at: int, status: str, address: str, tags: list[str]) -> None:
    check = Check(node="", id="c", service_id="web", status=status, output="because")
    if status == "maintenance":
        check = Check(node="", id="_service_maintenance:web", service_id="web", status="critical")
    service = Service(node="", id="web", name="web", port=80, address=address, tags=tags)
    node = Node(name=f"n{at}", address=f"10.1.0.{at}")
    registry.apply(Register(node, service=service, checks=[check]))


def told(registry: MemoryRegistry, asking: Asking, options: Options | None = None) -> Explanation:
    resolver = Resolver(registry, options or Options(), SystemClock(), SeededDice(1))
    return asyncio.run(explain(resolver, asking))


@settings(max_examples=80, deadline=None)
@given(
    INSTANCES,
    st.sampled_from(["A", "AAAA", "SRV", "ANY", "TXT"]),
    st.sampled_from(["web", "v1.web"]),
    st.sampled_from([(False, 0), (False, 512), (False, 1232), (True, 0)]),
    st.builds(Options, only_passing=st.booleans(), a_record_limit=st.integers(0, 3)),
)
def test_every_instance_has_one_fate_and_it_is_the_true_one(
    instances: list[tuple[str, str, list[str]]],
    kind: str,
    service: str,
    way: tuple[bool, int],
    options: Options,
) -> None:
    registry = MemoryRegistry()
    for at, (status, address, tags) in enumerate(instances):
        register(registry, at, status, address, tags)
    name = f"{service}.service.mesh"
    found = told(registry, Asking(name=name, kind=kind, tcp=way[0], edns_bytes=way[1]), options)
    assert sorted(one.node for one in found.candidates) == sorted(
        f"n{at}" for at in range(len(instances))
    )
    answered = [one for one in found.candidates if one.fate == "answered"]
    assert len(answered) == len(found.answers)
    assert all(one.why for one in found.candidates if one not in answered)
    for one, record in zip(answered, found.answers, strict=True):
        assert one.status not in {"critical", "maintenance"}
        assert not (options.only_passing and one.status == "warning")
        place = f"{one.node}.node" if kind == "SRV" and ":" not in one.address else one.address
        if kind == "SRV" and instances[int(one.node[1:])][1]:
            continue  # Its address is written in hexadecimal.
        assert place in record
    assert found.made >= len(found.answers)
    assert found.size <= found.size_max


def test_an_explanation_says_why() -> None:
    registry = MemoryRegistry()
    register(registry, 1, "critical", "", [])
    register(registry, 2, "passing", "", [])
    options = Options(service_ttls={"we*": 7})
    found = told(registry, Asking(name="web.service.mesh"), options)
    left = next(one for one in found.candidates if one.node == "n1")
    assert left.why == "its health is critical"
    assert left.complaints == ["c is critical: because"]
    assert found.answers == ["web.service.mesh. 7 IN A 10.1.0.2"]
    assert (found.ttl, found.ttl_rule) == (7, 'dns_config.service_ttl "we*"')
    assert found.flags == ["aa"]
    assert found.meaning == 'instances of the service "web" in dc1'


def test_truncation_shows() -> None:
    registry = MemoryRegistry()
    for at in range(5):
        register(registry, at, "passing", "", [])
    options = Options(enable_truncate=True)
    found = told(registry, Asking(name="web.service.mesh", edns_bytes=0), options)
    assert (len(found.answers), found.flags) == (3, ["aa", "tc"])
    reasons = {one.why for one in found.candidates if one.fate == "left out"}
    assert reasons <= {
        "no room: 3 of 4 answers were sent, at most 3 may be",
        "no room: enough others were drawn before it",
    }
    assert len(reasons) == 2


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("n1.node.dc2.mesh", 'the node "n1" in dc2'),
        ("web.query.mesh", 'the prepared query "web" in dc1'),
        ("0a000001.addr.mesh", "the address 10.0.0.1, which the name spells"),
        ("1.0.0.10.in-addr.arpa", "who has the address 10.0.0.1"),
        ("mesh", "the domain mesh. itself"),
        ("web.mesh", "nothing: no name under mesh. has this form."),
        ("example.com", "nothing: this agent answers for mesh. only"),
    ],
)
def test_names_are_explained(name: str, meaning: str) -> None:
    assert told(MemoryRegistry(), Asking(name=name)).meaning.startswith(meaning)


def test_what_kept_the_registry_from_answering_is_said() -> None:
    registry = MemoryRegistry()
    registry.error = NoLeader("No cluster leader")
    found = told(registry, Asking(name="web.service.mesh"))
    assert (found.code, found.error) == ("SERVFAIL", "no-leader: No cluster leader")


@pytest.mark.parametrize(
    ("asking", "words"),
    [
        (Asking(name="a", kind="HINFO"), 'type: expected one of A, AAAA, .* got "HINFO"'),
        (Asking(name="a..b"), "name: "),
        (Asking(name=".".join(["a" * 63] * 5)), "name: "),
        (Asking(name="a", subnet="10/33"), "subnet: expected an address or a network"),
        (Asking(name="a", subnet="10.0.0.1", edns_bytes=0), "subnet: is told by EDNS"),
    ],
)
def test_what_cannot_be_asked_is_refused(asking: Asking, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        told(MemoryRegistry(), asking)


def test_prepared_queries_say_whom_they_do_not_mean() -> None:
    registry = MemoryRegistry()
    register(registry, 1, "passing", "", ["v1"])
    register(registry, 2, "passing", "", ["v2"])
    register(registry, 3, "critical", "", ["v1"])
    wanted = ServiceQuery(service="web", tags=["v1"])
    registry.apply(Create(Prepared(id=str(UUID(int=1)), name="q", service=wanted, ttl="5s")))
    found = told(registry, Asking(name="q.query.mesh", kind="SRV"))
    assert {one.node: (one.fate, one.why) for one in found.candidates} == {
        "n1": ("answered", ""),
        "n2": ("left out", "the query wants the tags v1"),
        "n3": ("left out", "its health is critical"),
    }
    assert (found.ttl, found.ttl_rule) == (5, "the prepared query")
    assert "instances of web in dc1" in found.rules


def test_what_recursors_say_is_explained() -> None:
    world = World()
    world.records["example.org."] = [
        "answer example.org. 60 IN MX 10 mx.example.org.",
        "answer example.org. 60 IN A 203.0.113.1",
    ]
    options = Options(recursors=(("198.51.100.1", 53),))
    recursion = Recursion(options, SystemClock(), SeededDice(1), world)
    registry = MemoryRegistry()
    resolver = Resolver(registry, options, SystemClock(), SeededDice(1), recursion)
    found = asyncio.run(explain(resolver, Asking(name="example.org", kind="ANY")))
    assert found.meaning == "a name outside mesh., which the recursors are asked for"
    assert found.read.startswith("a recursor")
    assert found.flags == ["ra"]
    assert sorted(found.answers) == [
        "example.org. 60 IN 15 \\# 18 000a026d78076578616d706c65036f726700",
        "example.org. 60 IN A 203.0.113.1",
    ]
    assert (found.ttl, found.ttl_rule) == (60, "the recursor")
    assert "not kept as bytes" in found.kept
    world.codes["198.51.100.1"] = 2
    found = asyncio.run(explain(resolver, Asking(name="other.org", kind="A")))
    assert (found.code, found.error) == ("SERVFAIL", "unreachable: no recursor answers")
