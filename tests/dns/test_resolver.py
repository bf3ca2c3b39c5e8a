"""The resolver: kept bytes stay true, every instance has its turn, any bytes pass."""

import asyncio
import math
import sys
from collections import Counter

import dnslib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.clock import SeededDice
from mesh.dns import resolver as module
from mesh.dns.options import Options
from mesh.dns.resolver import Resolver
from mesh.errors import Invalid, NoLeader
from mesh.registry.catalog import Check, Node, Register, Service
from mesh.store.live import EMPTY_MAX
from tests.dns.memory import MemoryRegistry, StoppedClock
from tests.dns.script import question

ASK = question("web.service.mesh", "A")


def register(registry: MemoryRegistry, count: int, status: str = "passing") -> None:
    for number in range(1, count + 1):
        node = Node(name=f"n{number}", address=f"10.0.0.{number}", datacenter="dc1")
        check = Check(node="", id="c", status=status, service_id="web")
        registry.apply(Register(node, Service(node="", id="", name="web"), [check]))


def make(count: int, options: Options | None = None) -> tuple[MemoryRegistry, Resolver]:
    registry = MemoryRegistry()
    register(registry, count)
    return registry, Resolver(registry, options or Options(), StoppedClock(), SeededDice(3))


def ask(resolver: Resolver, data: bytes = ASK, *, tcp: bool = False) -> dnslib.DNSRecord:
    response = asyncio.run(resolver.resolve(data, tcp=tcp))
    assert response is not None
    return dnslib.DNSRecord.parse(response)


def addresses(resolver: Resolver) -> list[str]:
    return [str(record.rdata) for record in ask(resolver).rr]


def first_address(resolver: Resolver) -> bytes:
    """Of the first record, read where it stands: this is asked many thousand times."""
    resolver.turn()
    answer = resolver.at_once(ASK, tcp=False)
    assert answer is not None
    return answer[len(ASK) + 12 : len(ASK) + 16]


def test_health_shows_at_once_though_bytes_are_kept() -> None:
    registry, resolver = make(1)
    for status, expected in [("passing", ["10.0.0.1"]), ("critical", [])] * 3:
        register(registry, 1, status)
        for _ in range(4):
            assert addresses(resolver) == expected
    assert resolver.counters["kept_hits"] == 9


def test_kept_answers_carry_the_new_id() -> None:
    _, resolver = make(1)
    for number in (1, 2, 3):
        assert ask(resolver, number.to_bytes(2, "big") + ASK[2:]).header.id == number
    assert resolver.counters["kept_hits"] == 2


def test_every_instance_has_its_turn() -> None:
    _, resolver = make(30)
    first = Counter(first_address(resolver) for _ in range(20_000))
    assert len(first) == 30
    assert resolver.counters["kept_hits"] > 19_000
    assert max(first.values()) < 6 * min(first.values())


@pytest.mark.parametrize("instances", [3, 10, 30])
def test_the_first_answer_is_as_likely_each_instance(instances: int) -> None:
    """Pearson's chi-squared over the variants, which are independent draws: p > 0.001."""
    _, resolver = make(instances)
    asked = 128 * 10 * instances
    drawn = Counter(first_address(resolver) for _ in range(asked))
    # Each variant is given about 128 times before it makes room, so that many are one draw.
    expected = asked / 128 / instances
    squares = sum((drawn[one] / 128 - expected) ** 2 for one in drawn) / expected
    freedom = instances - 1
    assert len(drawn) == instances
    assert squares < freedom + 3.1 * (2 * freedom) ** 0.5 + 6  # About the 99.9th percentile.


def test_udp_and_tcp_answers_are_kept_apart() -> None:
    _, resolver = make(30)
    for _ in range(20):
        assert len(ask(resolver).rr) == 3
        assert len(ask(resolver, tcp=True).rr) == 30


def test_reload_changes_answers_and_bad_options_change_nothing() -> None:
    _, resolver = make(1)
    assert ask(resolver).rr[0].ttl == 0
    resolver.reload(Options(service_ttls={"*": 9}))
    assert ask(resolver).rr[0].ttl == 9
    with pytest.raises(Invalid, match="is not a domain name"):
        resolver.reload(Options(domain="a..b"))
    assert ask(resolver).rr[0].ttl == 9


def test_another_datacenter_is_asked_once_for_each_question_and_not_for_long() -> None:
    registry, resolver = make(1)
    there = registry.elsewhere["dc2"] = MemoryRegistry()
    register(there, 2)
    for asked in (1, 2, 3):
        found = ask(resolver, question("web.service.dc2.mesh", "A"))
        assert len(found.rr) == 2
        assert len(there.reads) == asked
        assert registry.seen[0].datacenter == "dc2"
        assert registry.seen[0].seconds_max == 2.0
    assert resolver.counters["kept_hits"] == 0
    ask(resolver)
    assert registry.seen[0].seconds_max == 0.0


async def test_reload_while_the_registry_is_read() -> None:
    registry, resolver = make(1)
    gate = registry.gate = asyncio.Event()
    early = asyncio.create_task(resolver.resolve(ASK, tcp=False))
    await asyncio.sleep(0)  # It waits at the gate now.
    resolver.reload(Options(service_ttls={"*": 9}))
    gate.set()
    assert await early
    response = await resolver.resolve(ASK, tcp=False)
    assert response is not None
    assert dnslib.DNSRecord.parse(response).rr[0].ttl == 9


def test_errors_are_not_answered_from_kept_bytes() -> None:
    registry, resolver = make(1)
    assert addresses(resolver) == addresses(resolver) == ["10.0.0.1"]
    registry.error = NoLeader("none")
    assert ask(resolver).header.rcode == 2
    registry.error = None
    assert addresses(resolver) == ["10.0.0.1"]


def test_reads_are_stale_unless_forbidden() -> None:
    registry, resolver = make(1)
    registry.last_contact = 6.0
    for _ in range(2):
        ask(resolver)
        assert registry.seen[0].consistency == "stale"
        assert registry.seen[0].max_stale is None
    assert resolver.counters["stale_queries"] == 2
    resolver.reload(Options(max_stale_seconds=30.0))
    ask(resolver)
    assert registry.seen[-1].max_stale == 30.0
    # The default is no limit: who was restarted and met no leader cannot say how old all is.
    resolver.reload(Options())
    registry.last_contact = math.inf
    assert addresses(resolver) == ["10.0.0.1"]
    resolver.reload(Options(allow_stale=False, token="t"))
    ask(resolver)
    assert (registry.seen[0].consistency, registry.seen[0].token) == ("default", "t")


def test_random_names_leave_nothing_behind() -> None:
    """However many: not in what is kept, nor in what the registry remembers of reads."""
    registry, resolver = make(3)
    for tcp in (False, True):
        ask(resolver, tcp=tcp)
    forms = ("{}.service", "{}.web.service", "_web._{}", "{}.node", "{}.query", "{}", "{}.addr")
    for number in range(7000):
        name = f"{forms[number % len(forms)].format(f'x{number:x}')}.mesh"
        if number % 10 == 9:
            name = f"{number % 256}.{number // 256}.1.10.in-addr.arpa"
        ask(resolver, question(name, "SRV" if "_" in name else "A"))
    assert len(resolver._kept) == 2
    assert len(registry.answers) <= EMPTY_MAX + 1
    for _ in range(100):
        assert len(addresses(resolver)) == 3
    assert resolver.counters["kept_hits"] > 80


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("web.service.mesh", "A"),
        ("web.service.mesh", "SRV"),
        ("n1.node.mesh", "A"),
        ("none.service.mesh", "A"),
        ("3.0.0.10.in-addr.arpa", "PTR"),
    ],
)
def test_the_work_of_a_first_answer_does_not_grow_with_other_services(name: str, kind: str) -> None:
    """Counted in calls, which no other process disturbs; both tables are large enough to be in
    parts, and what is drawn makes a few calls of difference."""
    counts = []
    for others in (2000, 6000):
        registry, resolver = make(20)
        for number in range(others):
            node = Node(name=f"o{number}", address=f"10.1.{number // 200}.{number % 200}")
            own = Service(node="", id="s", name=f"other-{number}")
            registry.apply(Register(node, own, [Check(node="", id="c", status="passing")]))
        data, called = question(name, kind), 0

        def count(*_: object) -> None:
            nonlocal called
            called += 1

        sys.setprofile(count)
        answer = resolver.at_once(data, tcp=False)
        sys.setprofile(None)
        assert answer is not None
        counts.append(called)
    assert counts[1] <= counts[0] * 1.03 + 10, counts


def test_kept_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_MAX", 10)
    _, resolver = make(1)
    for number in range(50):
        ask(resolver, question(f"{number:08x}.addr.mesh", "A"))
        ask(resolver, question("web.service.mesh", "A", edns=600 + number))
    assert len(resolver._kept) == 10
    monkeypatch.setattr(module, "KEPT_BYTES_MAX", 200)
    for number in range(50):
        ask(resolver, question("web.service.mesh", "A", edns=700 + number))
        assert resolver.kept_bytes <= 200
    kept = [len(data) for kept in resolver._kept.values() for data in kept.variants]
    assert sum(kept) == resolver.kept_bytes > 0


def test_long_questions_are_not_kept() -> None:
    """What follows the last record does not matter, and may be anything."""
    _, resolver = make(1)
    for number in range(20):
        long = ASK + number.to_bytes(60_000)
        for tcp in (False, True):
            assert len(ask(resolver, long, tcp=tcp).rr) == 1
    assert len(resolver._kept) == 0
    ask(resolver, ASK + bytes(100))
    assert len(resolver._kept) == 1


def test_bytes_of_answers_that_changed_are_let_go() -> None:
    registry, resolver = make(3)
    for number in range(40):
        register(registry, 3, "warning" if number % 2 else "passing")
        for _ in range(number % 12):
            ask(resolver)
    kept = [len(data) for kept in resolver._kept.values() for data in kept.variants]
    assert sum(kept) == resolver.kept_bytes


@settings(deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_pass(data: bytes, tcp: bool) -> None:
    _, resolver = make(2)
    asyncio.run(resolver.resolve(data, tcp=tcp))


labels = st.one_of(
    st.sampled_from(["web", "service", "node", "addr", "mesh", "_web", "_tcp", "arpa", "ip6", "1"]),
    st.sampled_from(["in-addr", "dc", "dc1", "query", "connect", "0a000001", "\udcff", "İ", "%"]),
)


@settings(deadline=None)
@given(
    st.lists(labels, max_size=8),
    st.sampled_from(["", "mesh", "in-addr.arpa", "ip6.arpa"]),
    st.integers(0, 300),
    st.booleans(),
)
def test_any_name_and_type_is_answered(start: list[str], end: str, kind: int, tcp: bool) -> None:
    name = [label.encode("utf-8", "surrogateescape") for label in (*start, *end.split("."))]
    raw = b"".join(bytes((len(label),)) + label for label in name if label) + b"\0"
    data = b"\0\1\0\0\0\1\0\0\0\0\0\0" + raw + kind.to_bytes(2, "big") + b"\0\1"
    _, resolver = make(2)
    response = asyncio.run(resolver.resolve(data, tcp=tcp))
    assert response is not None
    assert response[3] & 15 in {0, 3, 4, 5}


def test_serials_move() -> None:
    clock = StoppedClock()
    resolver = Resolver(MemoryRegistry(), Options(), clock, SeededDice(1))
    serials = []
    for _ in range(3):
        clock.now += 86_400
        serials.append(ask(resolver, question("mesh", "SOA")).rr[0].rdata.times[0])
    assert serials == [serials[0], serials[0] + 86_400, serials[0] + 2 * 86_400]
