"""Transactions: all or nothing, in order, every failure told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import Invalid, TooLarge
from mesh.registry import catalog, kv, sessions, txn
from mesh.registry.envelope import ENTRY_MAX_BYTES, Envelope, seal
from mesh.registry.levels import HIGHEST
from mesh.registry.levels import Found as LevelFound
from mesh.registry.outcomes import KEY_MAX_BYTES
from mesh.registry.port import Command, ReadOptions
from mesh.registry.txn import (
    Apply,
    CheckWrite,
    KvRead,
    KvWrite,
    NodeWrite,
    RowRead,
    ServiceWrite,
    SessionDelete,
)
from mesh.rpc.local import LocalReader
from mesh.server.machine import Machine

NODE = catalog.Node(name="n1", address="10.0.0.1")
SERVICE = catalog.Service(node="", id="", name="web")


class World:
    """A machine at the present level, and what its log says next."""

    def __init__(self) -> None:
        self.machine, self.index = Machine(), 0
        self.do(LevelFound(HIGHEST))

    def do(self, command: Command[Any], request: str = "") -> object:
        self.index += 1
        envelope = Envelope(
            HIGHEST if self.index > 1 else 1,
            request or f"r{self.index}",
            1.0,
            "",
            "test",
            command,  # type: ignore[arg-type]
            since=self.index - 1,
        )
        return self.machine.apply(self.index, seal(envelope))

    def txn(self, *ops: txn.AnyOp, request: str = "") -> txn.Outcome:
        command = Apply(ops)
        command.validate()
        outcome = self.do(command, request)
        assert isinstance(outcome, txn.Outcome), outcome
        return outcome

    def tables(self) -> bytes:
        """The tables as a snapshot has them, without the ledger of requests."""
        contents = self.machine.database.contents
        return repr(
            [
                (name, sorted(content.rows.items(), key=repr), content.marks[""].filled)
                for name, content in sorted(contents.items())
            ]
        ).encode()

    def pairs(self) -> dict[str, bytes]:
        return {pair.key: pair.value for pair in kv.Under("").run(self.machine.database.view())}


def failures(outcome: txn.Outcome) -> dict[int, str]:
    assert not outcome.results
    return {one.op: one.what for one in outcome.failures}


def test_ops_see_those_before_them_and_show_values_only_for_gets() -> None:
    world = World()
    world.do(kv.Set("old", b"before"))
    outcome = world.txn(
        KvWrite("set", "a", b"1", 7),
        KvRead("get", "a"),
        KvWrite("cas", "b", b"2", index=0),
        KvRead("check-index", "a", index=3),
        KvRead("get-tree", ""),
        KvRead("get-or-empty", "gone"),
        KvWrite("delete", "old"),
        KvRead("check-not-exists", "old"),
    )
    shown = [one.kv for one in outcome.results]
    assert [(pair.key, pair.value) for pair in shown if pair] == [
        ("a", b""),
        ("a", b"1"),
        ("b", b""),
        ("a", b""),
        ("a", b"1"),
        ("b", b"2"),
        ("old", b"before"),
        ("gone", b""),
    ]
    first = shown[0]
    assert first is not None
    assert (first.flags, first.create_index, first.modify_index) == (7, 3, 3)
    assert world.pairs() == {"a": b"1", "b": b"2"}


def test_every_failing_op_is_told_and_nothing_is_done() -> None:
    world = World()
    world.do(kv.Set("a", b"1"))
    before = world.tables()
    outcome = world.txn(
        KvWrite("set", "b", b"2"),
        KvRead("get", "none"),
        KvWrite("cas", "a", b"3", index=1),
        KvWrite("cas", "a", b"3", index=0),
        KvWrite("cas", "none", b"3", index=9),
        KvWrite("delete-cas", "a", index=77),
        KvRead("check-index", "a", index=1),
        KvRead("check-not-exists", "a"),
        KvRead("check-session", "a", session="s"),
        RowRead("n9"),
        ServiceWrite("set", "n9", SERVICE),
        CheckWrite("set", catalog.Check(node="n9", id="c")),
        NodeWrite("cas", NODE, 5),
        NodeWrite("delete-cas", NODE, 0),
    )
    told = failures(outcome)
    assert list(told) == list(range(1, 14))
    assert told[1] == 'key "none" does not exist'
    assert told[2] == 'index is stale: key "a" has modify index 2, not 1'
    assert told[3] == (
        'index is stale: key "a" has modify index 2, and index 0 means that it must not exist'
    )
    assert told[4] == 'index is stale: key "none" does not exist, so its modify index is not 9'
    assert told[8] == 'key "a" is not locked, not by "s"'
    assert told[13].endswith("so there is nothing to delete")
    assert world.tables() == before


def test_nodes_services_and_checks() -> None:
    world = World()
    outcome = world.txn(
        NodeWrite("cas", NODE, 0),
        ServiceWrite("set", "N1", SERVICE),
        CheckWrite("set", catalog.Check(node="n1", id="c", service_id="web", status="passing")),
        RowRead("n1"),
        RowRead("n1", service="web"),
        RowRead("N1", check_id="c"),
    )
    rows = [one.node or one.service or one.check for one in outcome.results]
    assert rows[:3] == rows[3:]
    assert isinstance(rows[2], catalog.Check)
    assert rows[2].service_name == "web"
    assert failures(world.txn(ServiceWrite("cas", "n1", SERVICE, 0)))
    assert world.txn(ServiceWrite("cas", "n1", SERVICE, world.index)) == txn.Outcome(
        failures=[
            txn.Failure(0, 'index is stale: service "n1/web" has modify index 2, not 3'),
        ]
    )
    world.txn(
        ServiceWrite("delete-cas", "n1", catalog.Service(node="", id="web", name=""), 2),
        CheckWrite("delete", catalog.Check(node="n1", id="c")),
    )
    view = world.machine.database.view()
    assert not view.every(catalog.SERVICES)
    assert not view.every(catalog.CHECKS)
    world.txn(NodeWrite("delete", catalog.Node(name="n1")))
    assert view.every(catalog.NODES) == []


def test_a_node_is_got_by_its_id_too() -> None:
    world = World()
    identity = "5f0f1f5a-4c39-4b1f-9d26-5f0f1f5a4c39"
    world.do(catalog.Register(catalog.Node(name="n1", id=identity, address="10.0.0.1")))
    (found,) = world.txn(RowRead("", node_id=identity.upper())).results
    assert found.node is not None
    assert found.node.name == "n1"


@pytest.mark.parametrize(
    ("op", "what"),
    [
        (KvWrite("set", "", b"x"), "key: must not be empty"),
        (KvRead("get", ""), "key: must not be empty"),
        (KvWrite("set", "k" * 3000), "key: longer than"),
        (KvWrite("set", "k", flags=2**64), "flags: "),
        (KvRead("check-index", "k", 2**64), "a number in it does not fit"),
        (RowRead(""), "Node: must not be empty"),
        (NodeWrite("set", catalog.Node(name="n")), "Address: "),
        (NodeWrite("delete", catalog.Node(name="")), "Node: "),
        (ServiceWrite("delete", "n", catalog.Service(node="", id="", name="")), "Service.ID: "),
        (ServiceWrite("delete", "", SERVICE), "Node: "),
        (CheckWrite("delete", catalog.Check(node="n", id="")), "Check.CheckID: "),
        (CheckWrite("set", catalog.Check(node="n", id="c", status="odd")), "Check.Status: "),
    ],
)
def test_what_can_never_be_right_is_refused_before_the_log(op: txn.AnyOp, what: str) -> None:
    fine = KvWrite("set", "k")
    (problem,) = txn.problems([fine, op])
    assert (problem.op, problem.what[: len(what)]) == (1, what)
    with pytest.raises(Invalid, match="op 1: "):
        Apply((fine, op)).validate()


def test_what_passes_the_checks_fits_into_a_log_entry() -> None:
    value = b"v" * (txn.OPS_MAX_BYTES // 128 - 60)
    command = Apply(tuple(KvWrite("set", f"k{n}", value) for n in range(128)))
    command.validate()
    text = "x" * 300
    assert len(seal(Envelope(4, text[:KEY_MAX_BYTES], 1.0, text, text, command))) < ENTRY_MAX_BYTES
    with pytest.raises(TooLarge, match="the limit is"):
        Apply((*command.ops[:127], KvWrite("set", "k", bytes(100_000)))).validate()
    with pytest.raises(TooLarge, match="too many operations"):
        Apply((*command.ops, KvWrite("set", "k"))).validate()


def test_reading_too_much_is_refused_and_writes_nothing() -> None:
    world = World()
    for number in range(8):
        world.do(kv.Set(f"big/{number}", bytes(512 * 1024)))
    trees = [KvRead("get-tree", "big/") for _ in range(9)]
    assert len(world.txn(*trees[:7]).results) == 56
    outcome = world.do(Apply((KvWrite("set", "a", b"1"), *trees)))
    assert isinstance(outcome, TooLarge)
    assert "a" not in world.pairs()
    with pytest.raises(TooLarge):
        txn.Read(tuple(trees)).run(world.machine.database.view())


def test_many_small_results_are_too_much_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(txn, "READ_MAX_BYTES", 1000)
    world = World()
    for number in range(8):
        world.do(kv.Set(f"small/{number}", b""))
    assert isinstance(world.do(Apply((KvWrite("set", "a"), KvRead("get-tree", "")))), TooLarge)


def test_what_a_transaction_wrote_does_not_fill_the_memory_of_requests() -> None:
    world = World()
    world.do(catalog.Register(NODE))
    ops = [
        ServiceWrite("set", "n1", catalog.Service(node="", id=f"{n}", name="web", tags=["t" * 900]))
        for n in range(60)
    ]
    assert len(world.txn(*ops, request="r").results) == 60
    assert world.txn(*ops, request="r") == txn.Outcome(forgotten=True)
    assert len(world.machine.database.ledger.ended["r"].value) < 100


def test_a_repetition_is_answered_the_same_unless_it_read_much() -> None:
    world = World()
    ops = (KvWrite("cas", "a", b"1", index=0), KvRead("get", "a"))
    assert world.txn(*ops, request="r") == world.txn(*ops, request="r")
    world.do(kv.Set("big", bytes(txn.KEPT_MAX_BYTES + 1)))
    ops = (KvWrite("cas", "b", b"1", index=0), KvRead("get", "big"))
    assert not world.txn(*ops, request="s").forgotten
    assert world.txn(*ops, request="s") == txn.Outcome(forgotten=True)


def test_reads_alone_are_a_query() -> None:
    assert isinstance(txn.request_of([KvRead("get", "a"), RowRead("n")]), txn.Read)
    assert isinstance(txn.request_of([KvRead("get", "a"), KvWrite("set", "n")]), Apply)


async def test_what_reads_answer_is_not_kept() -> None:
    world = World()
    world.do(kv.Set("a", b"1"))
    reader = LocalReader(world.machine.answers)
    for number in range(5):
        read = txn.Read((KvRead("get", "a"), KvRead("get-or-empty", f"x{number}")))
        answer = await reader.read(read, ReadOptions(index=2, wait=60))
        (found, _) = answer.value.results
        assert found.kv is not None
        assert (found.kv.value, answer.index) == (b"1", 2)
    assert len(world.machine.answers) == 0


NAMES = st.sampled_from(["a", "b", "n/1", "n/2"])
INDEXES = st.integers(0, 6)
SERVICES = st.builds(catalog.Service, node=st.just(""), id=NAMES, name=NAMES)
CHECKS = st.builds(catalog.Check, node=NAMES, id=NAMES, service_id=st.just("") | NAMES)
SESSIONS = [f"00000000-0000-0000-0000-00000000000{n}" for n in range(2)]
ROW_VERBS = st.sampled_from(["set", "cas", "delete", "delete-cas"])
OPS = st.one_of(
    st.builds(
        KvWrite,
        st.sampled_from(["set", "cas", "delete", "delete-cas", "delete-tree"]),
        NAMES,
        st.binary(max_size=2),
        index=INDEXES,
    ),
    st.builds(
        KvRead,
        st.sampled_from(["get", "get-tree", "check-index", "check-not-exists", "get-or-empty"]),
        NAMES,
        INDEXES,
    ),
    st.builds(
        NodeWrite, ROW_VERBS, st.builds(catalog.Node, name=NAMES, address=st.just("1.1.1.1"))
    ),
    st.builds(ServiceWrite, ROW_VERBS, NAMES, SERVICES, INDEXES),
    st.builds(CheckWrite, ROW_VERBS, CHECKS, INDEXES),
    st.builds(RowRead, NAMES, st.just("") | NAMES),
    st.builds(
        KvWrite,
        st.sampled_from(["lock", "unlock"]),
        NAMES,
        st.binary(max_size=2),
        session=st.sampled_from(SESSIONS),
    ),
    st.builds(SessionDelete, st.sampled_from(SESSIONS)),
)


@settings(max_examples=200)
@given(st.lists(st.lists(OPS, min_size=1, max_size=6), max_size=6))
def test_a_transaction_is_all_or_nothing(transactions: list[list[txn.AnyOp]]) -> None:
    world, steps = World(), World()
    for one in (world, steps):
        one.do(catalog.Register(catalog.Node(name="n/1", address="1.1.1.1")))
        for number, identity in enumerate(SESSIONS):
            behavior = ["release", "delete"][number]
            session = sessions.Create(identity, "n/1", behavior=behavior, node_checks=())
            assert one.do(session) == identity
    for ops in transactions:
        before = world.tables()
        outcome = world.txn(*ops)
        if outcome.failures:
            assert world.tables() == before
            steps.index += 1
            continue
        # What is done is what the ops do one by one, all of them in this log entry.
        steps.index += 1
        transaction = steps.machine.database.begin(steps.index, 1.0)
        results = [shown for op in ops for shown in op.run(transaction)]
        transaction.commit()
        assert results == outcome.results
        assert steps.tables() == world.tables()
