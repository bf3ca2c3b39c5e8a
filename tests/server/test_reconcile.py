"""What the leader writes when members come, fail and go."""

import msgspec

from mesh.registry.catalog import SERF_HEALTH, Check, Deregister, Node, Register, Service
from mesh.registry.health import DAMPED
from mesh.server.reconcile import (
    ALIVE,
    FAILED,
    FROZEN,
    Absence,
    Recorded,
    Seen,
    missing,
    plan,
)

NODE = Node(name="n1", id="id1", address="10.0.0.1", datacenter="dc1", meta={"rack": "a"})
HEALTHY = Check(node="n1", id=SERF_HEALTH, name="Serf Health Status", status="passing")
NOBODY = Recorded([], [], [])


def seen(status: str = "alive", port: int = 0, address: str = "10.0.0.1") -> Seen:
    member = Seen("n1", "id1", address, "dc1", "alive", port)
    return msgspec.structs.replace(member, status=status)


def test_a_new_member_is_registered_with_its_check() -> None:
    (command,) = plan([seen()], NOBODY, {})
    assert isinstance(command, Register)
    assert (command.node.name, command.node.id, command.service) == ("n1", "id1", None)
    assert [check.status for check in command.checks] == ["passing"]


def test_a_server_is_a_service_too() -> None:
    (command,) = plan([seen(port=8300)], NOBODY, {})
    assert isinstance(command, Register)
    assert command.service is not None
    assert (command.service.name, command.service.port) == ("mesh", 8300)
    recorded = Recorded([NODE], [HEALTHY], [Service(node="n1", id="mesh", name="mesh", port=8300)])
    assert plan([seen(port=8300)], recorded, {}) == []


def test_nothing_is_written_when_all_is_right() -> None:
    assert plan([seen()], Recorded([NODE], [HEALTHY], []), {}) == []


def test_a_failed_member_turns_critical_once() -> None:
    (command,) = plan([seen("failed")], Recorded([NODE], [HEALTHY], []), {})
    assert isinstance(command, Register)
    assert command.skip_node_update
    assert command.checks[0].status == "critical"
    critical = msgspec.structs.replace(HEALTHY, status="critical")
    assert plan([seen("failed")], Recorded([NODE], [critical], []), {}) == []


def test_a_moved_member_keeps_what_its_agent_wrote() -> None:
    (command,) = plan([seen(address="10.0.0.9")], Recorded([NODE], [HEALTHY], []), {})
    assert isinstance(command, Register)
    assert (command.node.address, command.node.meta) == ("10.0.0.9", {"rack": "a"})


def test_who_left_goes_and_strangers_stay() -> None:
    recorded = Recorded([NODE, Node(name="external", address="192.0.2.1")], [HEALTHY], [])
    assert plan([seen("left")], recorded, {}) == [Deregister(node="n1")]


def test_who_left_goes_though_its_agent_wrote_once_more() -> None:
    assert plan([seen("left")], Recorded([NODE], [], []), {}) == [Deregister(node="n1")]
    stranger = msgspec.structs.replace(NODE, id="another")
    assert plan([seen("left")], Recorded([stranger], [], []), {}) == []


def test_who_is_missing_gets_time_then_fails_then_goes() -> None:
    recorded = Recorded([NODE], [HEALTHY], [])
    absence = Absence(grace_seconds=60, forget_seconds=1000)
    assert missing([], recorded) == ["n1"]
    assert plan([], recorded, absence.judge(["n1"], now=5.0)) == []
    (command,) = plan([], recorded, absence.judge(["n1"], now=70.0))
    assert isinstance(command, Register)
    assert command.checks[0].status == "critical"
    assert plan([], recorded, absence.judge(["n1"], now=1005.0)) == [Deregister(node="n1")]
    absence.judge([], now=1006.0)
    assert absence.judge(["n1"], now=1007.0) == {}


def test_a_frozen_member_stays_as_it_was() -> None:
    assert plan([seen("frozen")], Recorded([NODE], [HEALTHY], []), {}) == []
    # The first of many was believed dead before they were many.
    early = msgspec.structs.replace(HEALTHY, status="critical", output=FAILED)
    (command,) = plan([seen("frozen")], Recorded([NODE], [early], []), {})
    assert isinstance(command, Register)
    kept = command.checks[0]
    assert (kept.status, kept.output) == ("passing", FROZEN)
    assert plan([seen("frozen")], Recorded([NODE], [kept], []), {}) == []
    # It comes back, or it does not.
    (back,) = plan([seen()], Recorded([NODE], [kept], []), {})
    assert isinstance(back, Register)
    assert (back.checks[0].status, back.checks[0].output) == ("passing", ALIVE)
    (gone,) = plan([seen("failed")], Recorded([NODE], [kept], []), {})
    assert isinstance(gone, Register)
    assert (gone.checks[0].status, gone.checks[0].output) == ("critical", FAILED)
    assert plan([seen("frozen")], NOBODY, {}) == [], "who was never there is not added"
    out = msgspec.structs.replace(HEALTHY, status="critical", output=DAMPED)
    assert plan([seen("frozen")], Recorded([NODE], [out], []), {}) == [], "it was out before"


def test_a_damped_member_stays_out_until_it_is_not() -> None:
    failed = msgspec.structs.replace(HEALTHY, status="critical", output=FAILED)
    (command,) = plan([seen("damped")], Recorded([NODE], [failed], []), {})
    assert isinstance(command, Register)
    damped = command.checks[0]
    assert (damped.status, damped.output) == ("critical", DAMPED)
    assert plan([seen("damped")], Recorded([NODE], [damped], []), {}) == []
    (back,) = plan([seen()], Recorded([NODE], [damped], []), {})
    assert isinstance(back, Register)
    assert back.checks[0].status == "passing"


def test_a_damped_member_that_moved_is_found_where_it_is() -> None:
    (command,) = plan([seen("damped", address="10.0.0.9")], Recorded([NODE], [HEALTHY], []), {})
    assert isinstance(command, Register)
    assert (command.node.address, command.checks[0].status) == ("10.0.0.9", "critical")
    (new,) = plan([seen("damped", port=8300)], NOBODY, {})
    assert isinstance(new, Register)
    assert new.service is not None
    assert new.checks[0].status == "critical"
