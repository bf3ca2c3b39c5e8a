"""Levels: what each writes, what it refuses to read, and how the cluster goes up."""

from typing import Any

import pytest

from mesh.codec import pack
from mesh.errors import Conflict, Invalid
from mesh.registry import (
    catalog,
    coordinates,
    glance,
    health,
    kv,
    levels,
    orders,
    policies,
    revocations,
)
from mesh.registry.coordinates import Coordinate, Placed
from mesh.registry.envelope import Envelope, seal
from mesh.registry.port import Order, Query, WriteOptions
from mesh.registry.requests import AnyCommand
from mesh.rpc.gate import Gate
from mesh.server.machine import Machine
from tests.rpc.stack import WORLD

# As mesh wrote them at levels 1 and 2: these bytes lie on disks and never change.
ENTRY_1 = bytes.fromhex(
    "9601a27233cb4008000000000000a6617574686f72a66e2f6874747085a474797065a66b762e736574a36b6579"
    "a161a576616c7565c40132a5666c61677300ab636865636b5f696e64657800"
)
SNAPSHOT_1 = [
    bytes.fromhex(piece)
    for piece in (
        "920104",
        "94a57374617274010595a96175746f70696c6f74a6636865636b73a26b76a56e6f646573a8736572"
        "7669636573",
        "95a7656d7074696564a96175746f70696c6f74a00090",
        "95a7656d7074696564a96175746f70696c6f74a12a0090",
        "95a7656d7074696564a6636865636b73a00090",
        "95a7656d7074696564a6636865636b73a12a0090",
        "95a7656d7074696564a6636865636b73a46e6f64650090",
        "95a7656d7074696564a6636865636b73a8696e7374616e63650090",
        "95a7656d7074696564a6636865636b73a7736572766963650090",
        "95a7656d7074696564a6636865636b73a67374617475730090",
        "95a7656d7074696564a6636865636b73a6676f737369700090",
        "93a4726f7773a26b769187ac6372656174655f696e64657802ac6d6f646966795f696e64657802a3"
        "6b6579a161a576616c7565c40131a5666c61677300aa6c6f636b5f696e64657800a773657373696f"
        "6ea0",
        "95a7656d7074696564a26b76a00090",
        "95a7656d7074696564a26b76a12a0090",
        "95a7656d7074696564a26b76a6666f6c6465720090",
        "94a666696c6c6564a26b76a12a9192a002",
        "94a666696c6c6564a26b76a6666f6c6465729192a002",
        "93a4726f7773a56e6f6465739188ac6372656174655f696e64657805ac6d6f646966795f696e6465"
        "7805a46e616d65a16ea26964a0a761646472657373a831302e302e302e31aa6461746163656e7465"
        "72a0b07461676765645f61646472657373657380a46d65746180",
        "95a7656d7074696564a56e6f646573a00090",
        "95a7656d7074696564a56e6f646573a12a0090",
        "95a7656d7074696564a56e6f646573a269640090",
        "95a7656d7074696564a56e6f646573a7616464726573730090",
        "94a666696c6c6564a56e6f646573a12a9192a005",
        "94a666696c6c6564a56e6f646573a7616464726573739192a831302e302e302e3105",
        "95a7656d7074696564a87365727669636573a00090",
        "95a7656d7074696564a87365727669636573a12a0090",
        "95a7656d7074696564a87365727669636573a46e6f64650090",
        "95a7656d7074696564a87365727669636573a46e616d650090",
        "95a7656d7074696564a87365727669636573a7616464726573730090",
        "92a3656e6402",
        "9492a2723294c401c3a0a0cb400000000000000092a2723394c401c2a0a0cb400800000000000092"
        "a2723494c400a7696e76616c6964d93a436865636b2e5365727669636549443a206e6f6465206e20"
        "686173206e6f2073657276696365207769746820746865206964202267686f737422cb4010000000"
        "00000092a2723594c401c3a0a0cb4014000000000000",
    )
]
ENTRY_2 = bytes.fromhex(
    "9802a27237cb4022000000000000a6617574686f72a66e2f6874747085a474797065a66b762e7365"
    "74a36b6579a162a576616c7565c40131a5666c61677300ab636865636b5f696e646578c00006"
)
SNAPSHOT_2 = [
    bytes.fromhex(piece)
    for piece in (
        "93020606",
        "94a57374617274010796a96175746f70696c6f74a6636865636b73a26b76a66c6576656c73a56e6f"
        "646573a87365727669636573",
        "95a7656d7074696564a96175746f70696c6f74a00090",
        "95a7656d7074696564a96175746f70696c6f74a12a0090",
        "95a7656d7074696564a6636865636b73a00090",
        "95a7656d7074696564a6636865636b73a12a0090",
        "95a7656d7074696564a6636865636b73a46e6f64650090",
        "95a7656d7074696564a6636865636b73a8696e7374616e63650090",
        "95a7656d7074696564a6636865636b73a7736572766963650090",
        "95a7656d7074696564a6636865636b73a67374617475730090",
        "95a7656d7074696564a6636865636b73a6676f737369700090",
        "93a4726f7773a26b769287ac6372656174655f696e64657802ac6d6f646966795f696e64657802a3"
        "6b6579a161a576616c7565c40131a5666c61677300aa6c6f636b5f696e64657800a773657373696f"
        "6ea087ac6372656174655f696e64657807ac6d6f646966795f696e64657807a36b6579a162a57661"
        "6c7565c40131a5666c61677300aa6c6f636b5f696e64657800a773657373696f6ea0",
        "95a7656d7074696564a26b76a00090",
        "95a7656d7074696564a26b76a12a0090",
        "95a7656d7074696564a26b76a6666f6c6465720090",
        "94a666696c6c6564a26b76a12a9192a007",
        "94a666696c6c6564a26b76a6666f6c6465729192a007",
        "93a4726f7773a66c6576656c739184ac6372656174655f696e64657806ac6d6f646966795f696e64"
        "657806a36b6579a0a66e756d62657202",
        "95a7656d7074696564a66c6576656c73a00090",
        "95a7656d7074696564a66c6576656c73a12a0090",
        "94a666696c6c6564a66c6576656c73a12a9192a006",
        "93a4726f7773a56e6f6465739188ac6372656174655f696e64657805ac6d6f646966795f696e6465"
        "7805a46e616d65a16ea26964a0a761646472657373a831302e302e302e31aa6461746163656e7465"
        "72a0b07461676765645f61646472657373657380a46d65746180",
        "95a7656d7074696564a56e6f646573a00090",
        "95a7656d7074696564a56e6f646573a12a0090",
        "95a7656d7074696564a56e6f646573a269640090",
        "95a7656d7074696564a56e6f646573a7616464726573730090",
        "94a666696c6c6564a56e6f646573a12a9192a005",
        "94a666696c6c6564a56e6f646573a7616464726573739192a831302e302e302e3105",
        "95a7656d7074696564a87365727669636573a00090",
        "95a7656d7074696564a87365727669636573a12a0090",
        "95a7656d7074696564a87365727669636573a46e6f64650090",
        "95a7656d7074696564a87365727669636573a46e616d650090",
        "95a7656d7074696564a87365727669636573a7616464726573730090",
        "92a3656e6404",
        "9692a2723296c401c3a0a0cb400000000000000000c40092a2723396c401c2a0a0cb400800000000"
        "000000c40092a2723496c400a7696e76616c6964d93a436865636b2e5365727669636549443a206e"
        "6f6465206e20686173206e6f2073657276696365207769746820746865206964202267686f737422"
        "cb401000000000000000c40092a2723596c401c3a0a0cb401400000000000000c40092a2757096c4"
        "0102a0a0cb402200000000000006c410fbb9f27dab2eaa2fe544c1ebbbeb07db92a2723796c401c3"
        "a0a0cb402200000000000007c410a537bf70e7aeb4a4736ed52bd64a6237",
    )
]
LOG: list[AnyCommand] = [
    kv.Set("a", b"1"),
    kv.Set("a", b"2", check_index=0),
    catalog.Register(
        node=catalog.Node(name="n", address="10.0.0.1"),
        checks=[catalog.Check(node="", id="c", service_id="ghost")],
    ),
    catalog.Register(node=catalog.Node(name="n", address="10.0.0.1")),
]


def entry(command: AnyCommand, request: str, level: int, since: int = 0) -> bytes:
    made = Envelope(level, request, 9.0, "author", "n/http", command, 0, since)
    return seal(made)


def pieces_of(machine: Machine) -> list[bytes]:
    return [piece for piece in machine.snapshot() if piece]


def restore(machine: Machine, pieces: list[bytes]) -> None:
    machine.prepare(1, iter(pieces)).install()


def first_mesh(highest: int = levels.HIGHEST) -> Machine:
    machine = Machine(highest)
    for index, command in enumerate(LOG, 2):
        made = Envelope(1, f"r{index}", float(index), "author", "n/http", command)
        machine.apply(index, seal(made))
    return machine


def test_level_1_is_what_the_first_mesh_wrote() -> None:
    second = Envelope(1, "r3", 3.0, "author", "n/http", kv.Set("a", b"2", check_index=0), 7, 7)
    assert seal(second) == ENTRY_1
    assert pieces_of(first_mesh()) == SNAPSHOT_1
    restored = Machine()
    restore(restored, SNAPSHOT_1)
    assert pieces_of(restored) == SNAPSHOT_1


def test_level_2_is_what_the_first_program_of_that_level_wrote() -> None:
    machine = first_mesh()
    machine.apply(6, entry(levels.Finalize(2), "up", 1))
    assert entry(kv.Set("b", b"1"), "r7", 2, since=6) == ENTRY_2
    machine.apply(7, ENTRY_2)
    assert pieces_of(machine) == SNAPSHOT_2
    restored = Machine()
    restore(restored, SNAPSHOT_2)
    assert pieces_of(restored) == SNAPSHOT_2


def test_coordinates_are_written_from_level_3_on() -> None:
    update = coordinates.Update((Placed("n", Coordinate((1.0,) * 8)),))
    machine = Machine()
    restore(machine, SNAPSHOT_2)
    with pytest.raises(Conflict, match="needs feature level 3, and the cluster has 2"):
        gate(machine, s1=3).admit(update, WriteOptions(request="r", since=7))
    assert machine.apply(8, entry(levels.Finalize(3), "up 3", 2, since=7)) == 3
    machine.apply(9, gate(machine, s1=3).admit(update, WriteOptions(request="r", since=8)))
    packed = pieces_of(machine)
    assert b"coordinates" in packed[1]
    restored = Machine()
    restore(restored, packed)
    assert pieces_of(restored) == packed
    older = Machine(highest=2)
    with pytest.raises(Invalid, match=r"newer mesh \(level 3\)"):
        restore(older, packed)


def test_servers_that_began_differently_are_equal_once_the_level_is_up() -> None:
    replayed, restored = first_mesh(), Machine(highest=2)
    restore(restored, SNAPSHOT_1)
    heard: list[int] = []
    restored.on_level = heard.append
    rest: list[AnyCommand] = [levels.Finalize(2), kv.Set("b", b"1")]
    for index, command in enumerate(rest, 6):
        data = entry(command, f"r{index}", index - 5, since=6)
        assert replayed.apply(index, data) == restored.apply(index, data)
    packed = pieces_of(restored)
    assert packed == pieces_of(replayed)
    assert heard == [2]
    assert restored.database.ledger.horizon == 6
    third = Machine()
    restore(third, packed)
    assert pieces_of(third) == packed


def test_what_a_newer_level_wrote_is_refused_and_changes_nothing() -> None:
    newer = first_mesh()
    newer.apply(6, entry(levels.Finalize(2), "up", 1))
    older = Machine(highest=1)
    restore(older, SNAPSHOT_1)
    refused = r"written by a newer mesh \(level 2\); upgrade mesh"
    with pytest.raises(Invalid, match=refused):
        restore(older, pieces_of(newer))
    newer_entries: list[tuple[AnyCommand, int]] = [
        (kv.Set("a", b"x"), 2),
        (levels.Finalize(2), 1),
        (levels.Found(2), 1),
    ]
    for command, level in newer_entries:
        with pytest.raises(Invalid, match=refused):
            older.apply(6, entry(command, "n", level))
    assert pieces_of(older) == SNAPSHOT_1
    beyond = levels.HIGHEST + 1
    with pytest.raises(Invalid, match=rf"\(level {beyond}\)"):
        newer.apply(7, entry(kv.Set("a", b"x"), "n", beyond))
    with pytest.raises(Invalid, match="level 0"):
        newer.apply(7, entry(kv.Set("a", b"x"), "n", 0))


def test_only_an_empty_log_is_founded() -> None:
    fresh, used = Machine(), first_mesh()
    assert fresh.apply(2, entry(levels.Found(2), "f", 1)) == 2
    assert used.apply(6, entry(levels.Found(2), "f", 1)) == 1


def test_levels_rise_one_by_one_and_never_fall() -> None:
    machine = first_mesh()
    refused = machine.apply(6, entry(levels.Finalize(1), "a", 1))
    assert refused == 1
    assert machine.apply(7, entry(levels.Finalize(2), "b", 1)) == 2
    assert machine.apply(8, entry(levels.Finalize(2), "c", 2, 7)) == 2
    assert machine.apply(9, entry(levels.Finalize(1), "d", 2, 7)) == 2
    late = Machine(highest=9)
    restore(late, pieces_of(machine))
    assert isinstance(late.apply(10, entry(levels.Finalize(4), "e", 2, 7)), Conflict)


def gate(machine: Machine, **speaking: int) -> Gate:
    return Gate(WORLD[0], machine.database, lambda: speaking, machine.highest)


def test_the_gate_lets_nobody_be_left_out() -> None:
    machine, once = first_mesh(highest=2), WriteOptions(request="once")
    with pytest.raises(Conflict, match=r"s2 \(level 1\) cannot read it") as refused:
        gate(machine, s1=2, s2=1).admit(levels.Finalize(2), once)
    assert "s1" not in refused.value.message
    ready = gate(machine, s1=2, s2=3)
    assert machine.apply(6, ready.admit(levels.Finalize(2), once)) == 2
    # Again, and with an old server back: what is so stays so.
    again = gate(machine, s1=1).admit(levels.Finalize(2), WriteOptions(request="again", since=6))
    assert machine.apply(7, again) == 2
    older = Machine(highest=2)
    restore(older, pieces_of(machine))
    with pytest.raises(Conflict, match=r"the leader \(level 2\)"):
        gate(older, s1=3, s2=3).admit(levels.Finalize(3), once)


def test_a_new_cluster_begins_where_all_understand_each_other() -> None:
    assert gate(Machine(), s1=2, s2=2).founding() == levels.Found(2)
    assert gate(Machine(), s1=2, s2=1).founding() is None
    assert gate(Machine(highest=1), s1=2, s2=2).founding() is None
    assert gate(Machine(), s1=7).founding() == levels.Found(levels.HIGHEST)


def test_a_command_waits_for_its_level() -> None:
    class Later(kv.Delete, frozen=True, tag="later"):
        needs = 2

    with pytest.raises(Conflict, match="needs feature level 2, and the cluster has 1"):
        gate(first_mesh()).admit(Later("a"), WriteOptions(request="r"))


def test_checks_have_their_sequence_from_level_3_on() -> None:
    """Below, entries and tables are as a program of level 2 writes them."""
    machine = first_mesh()
    row = catalog.Check(node="", id="c", sequence=7)
    node = catalog.Node(name="n", address="10.0.0.1")
    for level, kept in ((1, False), (2, False), (3, True)):
        ready = gate(machine, s1=3)
        index, since = machine.database.index + 1, machine.database.index
        raised = WriteOptions(request=f"up {level}", since=since)
        assert machine.apply(index, ready.admit(levels.Finalize(level), raised)) == level
        once = WriteOptions(request=f"check {level}", since=index)
        written = ready.admit(catalog.Register(node=node, checks=[row]), once)
        assert machine.apply(index + 1, written) is True
        assert (b"sequence" in written) == kept
        assert any(b"sequence" in piece for piece in pieces_of(machine)) == kept
    restored = Machine()
    restore(restored, pieces_of(machine))
    (found,) = health.NodeChecks("n").run(restored.database.view())
    assert found.sequence == 7


def test_nodes_and_instances_have_a_locality_from_level_4_on() -> None:
    there = catalog.Locality("eu", "eu-1")
    node = catalog.Node(name="n", address="10.0.0.1", locality=there)
    service = catalog.Service(node="", id="", name="web", locality=there)
    register = catalog.Register(node, service)
    assert register.at(4) is register
    plain = register.at(3)
    assert b"locality" not in pack(plain)
    assert plain.at(3) is plain


def test_who_began_with_a_snapshot_below_a_level_is_equal_above_it() -> None:
    """Indexes of that level were filled before, and their marks are in no snapshot below it."""
    one, two = Machine(), Machine()

    def write(index: int, command: AnyCommand, level: int) -> None:
        entry = seal(Envelope(level, f"r{index}", 1.0, "", "t", command, since=index - 1))
        for machine in (one, two):
            machine.apply(index, entry)

    def proxy(number: int) -> catalog.Register:
        return catalog.Register(
            catalog.Node(name="n", address="10.0.0.1"),
            catalog.Service(node="", id=f"s{number}", name="web", connect={"Native": True}),
            [catalog.Check(node="", id="c", kind="session", definition={"SessionName": "x"})],
        )

    write(1, levels.Found(3), 1)
    write(2, proxy(1), 3)
    write(3, proxy(2), 3)
    write(4, catalog.Deregister("n", check_id="c"), 3)
    restored = Machine()
    restored.prepare(4, filter(None, one.snapshot())).install()
    two = restored
    write(5, kv.Set("a", b""), 3)
    write(6, levels.Finalize(4), 3)
    write(7, kv.Set("b", b""), 4)
    assert list(filter(None, one.snapshot())) == list(filter(None, two.snapshot()))
    for bucket in (("services", "connect", "web"), ("checks", "session", ("n", "x"))):
        assert one.database.changed_at(bucket) == two.database.changed_at(bucket) == 6


@pytest.mark.parametrize(
    "asked",
    [glance.Nodes, glance.Sessions, policies.Every, revocations.All, orders.DefaultAllow],
)
def test_what_programs_of_level_5_do_not_know_is_not_asked_of_them(
    asked: type[Query[Any] | Order[Any]],
) -> None:
    assert asked.needs > levels.MESH
