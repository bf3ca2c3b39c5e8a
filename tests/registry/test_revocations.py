"""Revocations: what is revoked, by whom and why, and what makes no sense."""

from __future__ import annotations

import pytest

from mesh.errors import Conflict, Invalid
from mesh.registry import revocations
from mesh.registry.envelope import Envelope, seal
from mesh.registry.levels import Finalize, Found
from mesh.registry.port import WriteOptions
from mesh.registry.revocations import All, Revoke, Unrevoke
from mesh.rpc.gate import Gate
from mesh.server.machine import Machine
from tests.registry.world import World
from tests.rpc.stack import WORLD


@pytest.fixture
def world() -> World:
    return World()


def shown(world: World) -> list[tuple[str, str]]:
    return [(row.serial, row.issuer) for row in world.ask(All())]


def test_a_certificate_is_revoked_until_somebody_takes_it_back(world: World) -> None:
    assert world.ask(All()) == []
    made = world.do(Revoke("0A1B", "CN=ca", "stolen", ["a1.client.dc1.mesh"], 5000.0, "n/http"))
    assert world.ask(All()) == [made]
    assert (made.reason, made.by, made.time, made.ends) == ("stolen", "n/http", 1000.0, 5000.0)
    world.now = 2000.0
    again = world.do(Revoke("0A1B", "CN=ca", "burnt", by="m/http"))
    assert (again.reason, again.ends, again.time) == ("burnt", 5000.0, 2000.0)
    assert again.names == made.names
    assert world.do(Unrevoke("0A1B"))
    assert not world.do(Unrevoke("0A1B"))
    assert world.ask(All()) == []


def test_authorities_may_have_the_same_numbers(world: World) -> None:
    for issuer in ("CN=one", "CN=two"):
        world.do(Revoke("01", issuer))
    with pytest.raises(Conflict, match="CN=one; CN=two"):
        world.do(Unrevoke("01"))
    assert not world.do(Unrevoke("01", "CN=three"))
    assert world.do(Unrevoke("01", "CN=one"))
    assert shown(world) == [("01", "CN=two")]
    # A number alone stands for any authority, and goes with the certificate that it was meant for.
    world.do(Revoke("02"))
    assert world.do(Unrevoke("02", "CN=two"))
    assert shown(world) == [("01", "CN=two")]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (Revoke("0a1b"), "expected 0A1B"),
        (Revoke("xyz"), "hexadecimal"),
        (Revoke(""), "hexadecimal"),
        (Revoke("1" * 66), "hexadecimal"),
        (Revoke("01", reason="x" * 1025), "Reason"),
        (Revoke("01", issuer="x" * 1025), "Issuer"),
        (Revoke("01", names=["x"] * 65), "names"),
        (Revoke("01", names=["x" * 1025]), "names"),
        (Revoke("01", ends=-1.0), "ends"),
        (Unrevoke("1"), "expected 01"),
    ],
)
def test_what_makes_no_sense_is_refused(world: World, command: Revoke, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        world.do(command)


def test_what_has_expired_makes_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "ROWS_MAX", 3)
    for serial, ends in (("01", 900.0), ("02", 0.0), ("03", 9000.0)):
        world.do(Revoke(serial, ends=ends))
    world.do(Revoke("04"))
    assert [serial for serial, _ in shown(world)] == ["02", "03", "04"]
    with pytest.raises(Conflict, match="3 certificates are revoked already"):
        world.do(Revoke("05"))
    world.do(Revoke("04", reason="another"))


def test_it_needs_its_level_and_history_says_who_it_was() -> None:
    machine = Machine()
    machine.apply(2, seal(Envelope(1, "f", 1.0, "", "n", Found(5))))
    gate = Gate(WORLD[0], machine.database, lambda: {"s1": 6})
    options = WriteOptions(request="r", since=2, author="ann", origin="n/http/127.0.0.1")
    with pytest.raises(Conflict, match="needs feature level 6, and the cluster has 5"):
        gate.admit(Revoke("01"), options)
    machine.apply(3, gate.admit(Finalize(6), WriteOptions(request="up", since=2)))
    machine.apply(4, gate.admit(Revoke("01", "CN=ca"), options))
    (change,) = machine.database.chronicle.of("revocation", "01/CN=ca")
    assert (change.cause.op, change.cause.author) == ("revocations.revoke", "ann")
    restored = Machine()
    pieces = [piece for piece in machine.snapshot() if piece]
    restored.prepare(4, iter(pieces)).install()
    assert [row.serial for row in All().run(restored.database.view())] == ["01"]
    with pytest.raises(Invalid, match=r"newer mesh \(level 6\)"):
        Machine(5).prepare(4, iter(pieces))
