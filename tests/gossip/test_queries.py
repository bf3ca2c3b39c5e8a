"""Queries: Serf's bytes, filters, acknowledgements, relays, limits, and everything once."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.clock import SeededDice
from mesh.errors import Busy, Conflict, Invalid, TooLarge
from mesh.gossip.bodies import (
    Filter,
    NodesFilter,
    QueryBody,
    Response,
    TagFilter,
    decode_query,
    decode_relay,
    decode_response,
    decode_state,
    encode_query,
    encode_relay,
    encode_response,
    encode_state,
)
from mesh.gossip.broadcasts import Broadcasts
from mesh.gossip.members import Member, Status
from mesh.gossip.messages import Alive, User, encode_tags, pack_map
from mesh.gossip.options import Options
from mesh.gossip.pool import Pool
from mesh.gossip.queries import (
    ASKING_MAX,
    Answer,
    Answered,
    Asked,
    Ended,
    Filters,
    Limits,
    Queries,
    Question,
)
from mesh.gossip.swim import Send, Swim

QUERY = bytes.fromhex(
    "048ba441646472a40a000001a746696c7465727392a60092a161a162b40182a445787072a3776562a3546167a4726f6c"
    "65a5466c61677301a24944ce7fffffffa54c54696d6503a44e616d65a171a75061796c6f6164a178a4506f7274cd1f0a"
    "ab52656c6179466163746f7202aa536f757263654e6f6465a26e31a754696d656f7574d3000000037e11d600"
)
RESPONSE = bytes.fromhex(
    "0585a5466c61677300a446726f6da26e31a2494407a54c54696d6503a75061796c6f6164a26f6b"
)
ACK = bytes.fromhex("0585a5466c61677301a446726f6da26e31a2494407a54c54696d6503a75061796c6f6164c0")
RELAY = (
    bytes.fromhex(
        "0982a8446573744164647283a24950a40a000001a4506f7274d11f0aa45a6f6e65a0a8446573744e616d65a26e31"
    )
    + RESPONSE
)
N1 = bytes((10, 0, 0, 1))
FILTERS: list[Filter] = [NodesFilter(["a", "b"]), TagFilter("role", "web")]
THEIRS = QueryBody(3, 0x7FFFFFFF, N1, 7946, "n1", "q", b"x", FILTERS, 1, 2, 15_000_000_000)


def test_the_bytes_are_serfs() -> None:
    assert decode_query(QUERY) == THEIRS
    assert encode_query(THEIRS) == QUERY
    # Older encoders write what is not negative as unsigned.
    assert decode_query(QUERY.replace(b"\xd3\0\0\0\x03", b"\xcf\0\0\0\x03")) == THEIRS
    plain = encode_query(QueryBody(1, 1, N1, 1, "n1", "q"))
    assert b"\xa7Filters\xc0" in plain
    answer = Response(3, 7, "n1", b"ok")
    assert (decode_response(RESPONSE), encode_response(answer)) == (answer, RESPONSE)
    assert encode_response(Response(3, 7, "n1", b"", 1)) == ACK
    assert encode_relay(N1, 7946, "n1", RESPONSE) == RELAY
    unsigned = RELAY.replace(b"\xd1\x1f\x0a", b"\xcd\x1f\x0a")
    for relay in (decode_relay(RELAY), decode_relay(unsigned)):
        assert (relay.address, relay.port, relay.node, relay.body) == (
            "10.0.0.1",
            7946,
            "n1",
            RESPONSE,
        )


class Node:
    """A node called me at 10.0.0.9, with others that are alive."""

    def __init__(self, *others: Member, tags: dict[str, str] | None = None) -> None:
        self.swim = Swim("me", Options(), SeededDice(1), 0.0)
        self.swim.go_live(0.0, "10.0.0.9", 7946, encode_tags(tags or {}))
        me = Member("me", "10.0.0.9", 7946, tags or {}, Status.ALIVE, 1)
        members = [me, *others]
        self.queries = Queries(self.swim, Broadcasts(4, len), Limits(), lambda: members)
        self.swim.take()

    def sent(self) -> list[tuple[str, bytes]]:
        found = []
        for effect in self.swim.take():
            if isinstance(effect, Send):
                (message,) = effect.messages
                assert isinstance(message, User)
                found.append((effect.address, message.payload))
        return found

    def hears(self, **changes: object) -> list[object]:
        fields = {"time": 3, "id": 7, "filters": [], "flags": 0, "relay_factor": 0, **changes}
        given = QueryBody(
            address=N1,
            port=7946,
            source="n1",
            name="q",
            payload=b"x",
            timeout_ns=15_000_000_000,
            **fields,  # type: ignore[arg-type]
        )
        self.queries.receive_query(100.0, encode_query(given))
        return [*self.queries.take()]


def member(number: int, *, alive: bool = True, protocol: int = 5) -> Member:
    status = Status.ALIVE if alive else Status.FAILED
    return Member(f"n{number}", f"10.0.0.{number}", 7946, {}, status, 1, (1, protocol, 2))


def test_a_query_is_heard_once_and_passed_on_as_it_came() -> None:
    node = Node()
    body = encode_query(QueryBody(3, 7, N1, 7946, "n1", "q", b"x", timeout_ns=2_000_000_000))
    node.queries.receive_query(100.0, body)
    node.queries.receive_query(101.0, body)
    asked = Asked(3, 7, "n1", "q", b"x", 102.0, N1, 7946)
    assert node.queries.take() == [asked]
    assert node.queries.queue.draw(9000, 0, 1) == [body]
    assert node.sent() == []
    node.queries.answer(101.0, asked, b"ok")
    assert node.sent() == [("10.0.0.1", encode_response(Response(3, 7, "me", b"ok")))]
    with pytest.raises(Conflict, match="past its deadline"):
        node.queries.answer(102.1, asked, b"ok")
    # Another of the same time is another query.
    assert len(node.hears(id=8)) == 1
    assert node.queries.clock.time == 4


def test_what_is_too_old_or_before_a_restart_is_not_heard() -> None:
    node = Node()
    assert node.hears(time=1000)
    assert node.hears(time=489, id=8)
    assert not node.hears(time=488, id=9)
    later = Node()
    later.queries.restore(50)
    assert not later.hears(time=50)
    assert later.hears(time=51)
    assert later.queries.last == 51


def test_a_query_may_ask_not_to_be_passed_on() -> None:
    node = Node()
    assert node.hears(flags=2)
    assert len(node.queries.queue) == 0


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ([], True),
        ([NodesFilter(["a", "me"])], True),
        ([NodesFilter(["a"])], False),
        ([NodesFilter([])], False),
        ([TagFilter("role", "we")], True),
        ([TagFilter("role", "^e")], False),
        ([TagFilter("none", "^$")], True),
        ([NodesFilter(["me"]), TagFilter("role", "db")], False),
        ([TagFilter("role", "("), NodesFilter(["me"])], False),
        ([TagFilter("role", "x{0,200}")] * 2, False),
    ],
)
def test_filters_must_all_match(filters: list[Filter], passes: bool) -> None:
    node = Node(tags={"role": "web"})
    heard = node.hears(filters=filters, flags=1)
    assert bool(heard) is passes
    assert bool(node.sent()) is passes
    # Passed on all the same: others may match.
    assert len(node.queries.queue) == 1


def test_filters_that_are_refused_are_counted() -> None:
    node = Node()
    node.hears(filters=[TagFilter("x", "(a")])
    node.hears(id=8, filters=[TagFilter("x", "x{0,200}")] * 2)
    assert node.queries.counters["filters_refused"] == 2
    unknown = QUERY.replace(b"\xa6\x00\x92", b"\xa6\x07\x92")
    node.queries.receive_query(0.0, unknown)
    assert node.queries.take() == []


def test_acknowledgements_and_answers_are_relayed_by_live_members_that_can() -> None:
    others = [member(1), member(2), member(3), member(4, alive=False), member(5, protocol=4)]
    node = Node(*others)
    (asked,) = node.hears(flags=1, relay_factor=2)
    ack = encode_response(Response(3, 7, "me", b"", 1))
    direct, *copies = node.sent()
    assert direct == ("10.0.0.1", ack)
    assert len({address for address, _ in copies}) == 2
    assert {address for address, _ in copies} <= {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
    assert all(body == encode_relay(N1, 7946, "n1", ack) for _, body in copies)
    assert isinstance(asked, Asked)
    # What would be too large when wrapped goes the direct way only.
    node.queries.answer(100.0, asked, b"x" * 960)
    assert len(node.sent()) == 1
    assert node.queries.counters["relays_too_large"] == 1
    with pytest.raises(TooLarge, match=r"answer takes 10\d\d bytes; the limit is 1024"):
        node.queries.answer(100.0, asked, b"x" * 1000)
    small = Node(member(1))
    small.hears(flags=1, relay_factor=2)
    assert len(small.sent()) == 1


def test_answers_to_a_query_from_here_come_once_each_until_its_end() -> None:
    node = Node()
    asking = node.queries.ask(10.0, Question("q", b"x", ack=True), 2.0)
    first, second = node.queries.take()
    # This node too is asked, and acknowledges.
    assert first == Answered(1, Answer("me", b"", ack=True))
    assert isinstance(second, Asked)
    node.queries.answer(10.0, second, b"mine")
    assert node.sent() == []
    for flags in (0, 1, 0, 1):
        reply = Response(1, asking.id, "n1", b"ok" if not flags else b"", flags)
        node.queries.receive_response(encode_response(reply))
    assert node.queries.take() == [
        Answered(1, Answer("me", b"mine")),
        Answered(1, Answer("n1", b"ok")),
        Answered(1, Answer("n1", b"", ack=True)),
    ]
    assert node.queries.counters["answers_repeated"] == 2
    # Neither for another query of that time, nor for one that is over.
    node.queries.receive_response(encode_response(Response(1, asking.id + 1, "n2", b"")))
    assert node.queries.deadline() == 12.0
    node.queries.tick(11.9)
    assert node.queries.take() == []
    node.queries.tick(12.0)
    assert node.queries.take() == [Ended(1)]
    node.queries.receive_response(encode_response(Response(1, asking.id, "n2", b"")))
    assert node.queries.take() == []
    assert node.queries.counters["answers_late"] == 2
    assert node.queries.ask(13.0, Question("q"), 2.0).time == 2


def test_the_default_deadline_grows_with_the_pools_logarithm() -> None:
    node = Node()
    assert node.queries.default_seconds() == pytest.approx(3.2)
    for number in range(9):
        news = Alive(1, f"n{number}", bytes((10, 0, 1, number)), 7946)
        node.swim.alive(0.0, news)
    assert node.queries.default_seconds() == pytest.approx(6.4)


def test_questions_out_of_limits_are_refused_by_name() -> None:
    node = Node()
    for question, seconds, problem in (
        (Question(""), 1.0, "name of a query is missing"),
        (Question("q", relay_factor=256), 1.0, "relay factor"),
        (Question("q"), 0.0, "timeout"),
        (Question("q"), 3601.0, "timeout"),
        (Question("q", filters=Filters(tags={"a": "("})), 1.0, "missing"),
    ):
        with pytest.raises(Invalid, match=problem):
            node.queries.ask(0.0, question, seconds)
    with pytest.raises(TooLarge, match="limit is 1024"):
        node.queries.ask(0.0, Question("q", filters=Filters(nodes=["n" * 60] * 17)), 1.0)
    assert node.queries.clock.time == 1
    for _ in range(ASKING_MAX):
        node.queries.ask(0.0, Question("q"), 1.0)
    with pytest.raises(Busy):
        node.queries.ask(0.0, Question("q"), 1.0)


def test_relays_are_carried_to_members_only_and_only_answers() -> None:
    pool = Pool("me", Options(), SeededDice(1), 0.0)
    pool.enter(0.0, "10.0.0.9", 7946, encode_tags({}))

    def carried(body: bytes) -> list[str]:
        pool.swim.take()
        pool.receive_user(0.0, User(body))
        return [one.address for one in pool.swim.take() if isinstance(one, Send)]

    assert carried(RELAY) == []
    pool.swim.alive(0.0, Alive(1, "n1", N1, 7946))
    assert carried(RELAY) == ["10.0.0.1"]
    assert carried(encode_relay(N1, 7947, "n1", RESPONSE)) == []
    assert carried(encode_relay(N1, 7946, "n1", QUERY)) == []
    assert carried(encode_relay(N1, 7946, "n1", b"")) == []
    assert pool.counters["relays_refused"] == 4
    # Go writes some addresses in 16 bytes.
    assert carried(encode_relay(b"\0" * 10 + b"\xff\xff" + N1, 7946, "", ACK)) == ["10.0.0.1"]


def test_clocks_are_exchanged() -> None:
    one, two = Node(), Node()
    one.queries.ask(0.0, Question("q"), 1.0)
    two.queries.merge(decode_state(encode_state(one.queries.fields())))
    assert two.queries.clock.time == 2


@given(st.binary(max_size=200), st.sampled_from([b"\x04", b"\x05", b"\x09"]))
def test_any_bytes_raise_invalid_only(data: bytes, kind: bytes) -> None:
    pool = Pool("me", Options(), SeededDice(1), 0.0)
    pool.enter(0.0, "10.0.0.9", 7946, encode_tags({}))
    for body in (data, kind + data):
        with contextlib.suppress(Invalid):
            pool.receive_user(0.0, User(body))
    pool.take(0.0)


@given(st.data(), st.sampled_from([QUERY, RESPONSE, RELAY]))
def test_changed_bytes_raise_invalid_only(data: st.DataObject, whole: bytes) -> None:
    changed = bytearray(whole)
    changed[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    pool = Pool("me", Options(), SeededDice(1), 0.0)
    pool.enter(0.0, "10.0.0.9", 7946, encode_tags({}))
    with contextlib.suppress(Invalid):
        pool.receive_user(0.0, User(bytes(changed)))
    pool.take(0.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"Addr": b"x"},
        {"Addr": N1, "Filters": 5},
        {"Addr": N1, "Filters": [b""]},
        {"Addr": N1, "Filters": [b"\0\xa1x"] * 65},
        {"Addr": N1, "Filters": [b"\0\xa1x"]},
        {"Addr": N1, "Timeout": -1},
        {"Addr": N1, "RelayFactor": 256},
    ],
)
def test_queries_out_of_limits_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        decode_query(b"\x04" + pack_map(fields))
