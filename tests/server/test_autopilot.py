"""Autopilot's rules, one by one, and what no decision ever does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.raft.epochs import VOTERS_MAX, Peer
from mesh.registry.autopilot import Settings
from mesh.server.autopilot import FAILED_SECONDS, Server, View, decide, health, hindrance

LONG = 3600.0


def address(name: str) -> str:
    return f"10.0.0.{int(name[1:])}:8300"


def peer(name: str, node_id: str = "") -> Peer:
    return Peer(node_id or name, name, address(name))


def alive(name: str, steady: float = LONG, /, **more: Any) -> Server:
    fields: dict[str, Any] = {
        "id": name,
        "name": name,
        "address": address(name),
        "status": "alive",
    } | more
    return msgspec.convert({"steady_seconds": steady, "moved_seconds": LONG} | fields, Server)


def dead(name: str, seconds: float = LONG, /, **more: Any) -> Server:
    gone: dict[str, Any] = {"status": "failed", "connected": False, "trouble": "gossip: failed"}
    return alive(name, dead_seconds=seconds, **(gone | more))


def left(name: str, /, **more: Any) -> Server:
    return dead(name, 1.0, status="left", **more)


def view(voters: str, *servers: Server, **more: object) -> View:
    """s1 leads; voters not described are alive."""
    known = {server.id: server for server in servers}
    others = [alive(name) for name in voters.split() if name not in known]
    made = View(
        leader="s1",
        voters=tuple(peer(name) for name in voters.split()),
        servers=(*servers, *others),
    )
    return msgspec.structs.replace(made, **more)


def decided(seen: View) -> str:
    """The names of the voters there should be, or "" when nothing is due."""
    change = decide(seen)
    return " ".join(sorted(voter.name for voter in change.voters)) if change else ""


def having(**more: object) -> Settings:
    return msgspec.structs.replace(Settings(), **more)


CASES: dict[str, tuple[View, str]] = {
    "nothing to do": (view("s1 s2 s3"), ""),
    "a stable learner gets a vote": (view("s1", alive("s2", 10.0)), "s1 s2"),
    "a learner that is not stable yet waits": (view("s1", alive("s2", 9.9)), ""),
    "the stabilization time is a setting": (
        view("s1", alive("s2", 3.0), settings=having(server_stabilization_time=2.0)),
        "s1 s2",
    ),
    "several at once": (view("s1", alive("s2", 10.0), alive("s3", 11.0)), "s1 s2 s3"),
    "who is ready waits for who soon is": (view("s1", alive("s2", 12.0), alive("s3", 8.0)), ""),
    "but not for ever": (view("s1", alive("s2", 15.0), alive("s3", 8.0)), "s1 s2"),
    "nor for who still takes long": (view("s1", alive("s2", 10.0), alive("s3", 1.0)), "s1 s2"),
    "nor for who is not to vote": (
        view("s1", alive("s2", 10.0), alive("s3", 8.0, read_replica=True)),
        "s1 s2",
    ),
    "an unhealthy learner does not": (view("s1", alive("s2", trouble="not heard in time")), ""),
    "nor one that lacks the state": (view("s1", alive("s2", caught_up=False)), ""),
    "nor a read replica": (view("s1", alive("s2", read_replica=True)), ""),
    "nor one that was removed": (view("s1", alive("s2"), barred=("s2",)), ""),
    "nor one without an id": (view("s1", alive("s2", id="")), ""),
    "who left loses its vote at once": (view("s1 s2 s3", left("s3")), "s1 s2"),
    "clean-up has nothing to do with that": (
        view("s1 s2 s3", left("s3"), settings=having(cleanup_dead_servers=False)),
        "s1 s2",
    ),
    "who failed has time to return": (view("s1 s2 s3", dead("s3", FAILED_SECONDS - 1)), ""),
    "then it loses its vote": (view("s1 s2 s3", dead("s3", FAILED_SECONDS)), "s1 s2"),
    "not without clean-up": (
        view("s1 s2 s3", dead("s3"), settings=having(cleanup_dead_servers=False)),
        "",
    ),
    "not below the least quorum": (
        view("s1 s2 s3", dead("s3"), settings=having(min_quorum=3)),
        "",
    ),
    "who left stays there too": (
        view("s1 s2 s3", left("s3"), settings=having(min_quorum=3)),
        "",
    ),
    "unless another takes its place": (
        view("s1 s2 s3", left("s3"), alive("s4"), settings=having(min_quorum=3)),
        "s1 s2 s4",
    ),
    "one of two cannot go: both must agree": (view("s1 s2", dead("s2")), ""),
    "two of five": (view("s1 s2 s3 s4 s5", dead("s4"), left("s5")), "s1 s2 s3"),
    "without a majority nothing changes": (
        view("s1 s2 s3", dead("s2"), dead("s3"), alive("s4")),
        "",
    ),
    "two of six at once, the most certain first": (
        view("s1 s2 s3 s4 s5 s6", dead("s4", 70.0), left("s6")),
        "s1 s2 s3 s5",
    ),
    "who is still heard by Raft is not dead": (
        view("s1 s2 s3", alive("s3", status="failed", trouble="gossip: failed")),
        "",
    ),
    "the leader stays, whatever gossip says": (view("s1 s2 s3", left("s1")), ""),
    "nothing during another change": (view("s1 s2 s3", left("s3"), changing=True), ""),
    "nothing without a confirmed leader": (view("s1 s2 s3", left("s3"), confirmed=False), ""),
    "nothing by a leader that is no voter": (view("s2 s3 s4", left("s4")), ""),
    "promotion and removal are one change": (view("s1 s2 s3", dead("s3"), alive("s4")), "s1 s2 s4"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rules(case: tuple[View, str]) -> None:
    seen, expected = case
    assert decided(seen) == expected


def test_a_name_with_a_new_id_takes_the_old_ones_place_in_one_change() -> None:
    gone = dead("s3", 1.0, status="none")
    back = alive("s3", id="new", address="10.0.0.9:8300")
    change = decide(view("s1 s2 s3", gone, back))
    assert change is not None
    assert [voter.id for voter in change.voters] == ["new", "s1", "s2"]
    assert any("came back with another node id" in reason for reason in change.reasons)
    # Not before its successor is ready, and never when the successor is not to vote.
    assert decide(view("s1 s2 s3", gone, alive("s3", 1.0, id="new"))) is None
    assert decide(view("s1 s2 s3", gone, alive("s3", id="new", read_replica=True))) is None


def test_a_lasting_address_is_written_down() -> None:
    moved = alive("s2", address="10.9.9.9:8300", moved_seconds=10.0)
    change = decide(view("s1 s2 s3", moved))
    assert change is not None
    assert change.voters[1] == Peer("s2", "s2", "10.9.9.9:8300")
    assert decide(view("s1 s2 s3", alive("s2", address="10.9.9.9:1", moved_seconds=9.0))) is None
    failed = dead("s2", 1.0, address="10.9.9.9:8300")
    assert decide(view("s1 s2 s3", failed)) is None
    stolen = alive("s2", address=address("s3"))
    assert decide(view("s1 s2 s3", stolen)) is None


def test_a_voter_that_lost_its_disk_gets_its_vote_back_by_an_epoch_with_the_same_voters() -> None:
    whole = view("s1 s2 s3", alive("s3", 10.0, observes=True))
    change = decide(whole)
    assert change is not None
    assert change.voters == whole.voters
    assert decide(view("s1 s2 s3", alive("s3", 9.0, observes=True))) is None
    assert decide(view("s1 s2 s3", alive("s3", observes=True, caught_up=False))) is None
    hurt = health(whole, 0.0)
    assert (hurt.healthy, hurt.failure_tolerance) == (False, 0)
    assert "lost its disk" in hurt.servers[2].reason
    # It has no say in that itself.
    assert decide(view("s1 s2", alive("s2", observes=True))) is None
    assert decide(view("s1 s2 s3", dead("s2", 1.0), alive("s3", observes=True))) is None


def test_every_hindrance_is_named() -> None:
    seen = view("s1", barred=("s3",), settings=having(server_stabilization_time=30.0))
    assert "read replica" in hindrance(seen, alive("s2", read_replica=True))
    assert "operator removed it" in hindrance(seen, alive("s3"))
    assert hindrance(seen, dead("s2")) == "gossip: failed"
    assert hindrance(seen, alive("s2", 12.0)) == "healthy for 12 of 30 s"
    assert hindrance(seen, alive("s2", 30.0)) == ""


def test_health_counts_what_may_yet_fail() -> None:
    whole = health(view("s1 s2 s3"), 1000.0)
    assert (whole.healthy, whole.failure_tolerance, whole.leader) == (True, 1, "s1")
    assert [server.leader for server in whole.servers] == [True, False, False]
    hurt = health(view("s1 s2 s3", dead("s3", steady_seconds=7.0)), 1000.0)
    assert (hurt.healthy, hurt.failure_tolerance) == (False, 0)
    third = hurt.servers[2]
    assert (third.healthy, third.stable_since, third.last_contact) == (False, 993.0, None)
    assert third.reason == "gossip: failed"
    assert not health(view("s1", confirmed=False), 0.0).healthy
    follower = health(view("s1", alive("s2", 4.0)), 1000.0).servers[1]
    assert (follower.voter, follower.healthy, follower.reason) == (
        False,
        True,
        "healthy for 4 of 10 s",
    )


NAMES = [f"s{number}" for number in range(1, 10)]


@st.composite
def views(draw: st.DrawFn) -> View:
    count = draw(st.integers(1, len(NAMES)))
    servers = []
    for number, name in enumerate(NAMES):
        if number == 0:
            servers.append(alive(name))
            continue
        status = draw(st.sampled_from(["alive", "alive", "leaving", "left", "failed", "none"]))
        connected = draw(st.booleans()) if status != "alive" else draw(st.integers(0, 9)) > 0
        gone = status != "alive" and not connected
        servers.append(
            alive(
                name,
                draw(st.sampled_from([0.0, 6.0, 10.0, LONG])),
                # Also names that came back with another id.
                name=draw(st.sampled_from([name, NAMES[1]])),
                address=draw(st.sampled_from([address(name), f"10.1.0.{number}:8300"])),
                status=status,
                connected=connected,
                caught_up=draw(st.booleans()),
                read_replica=draw(st.booleans()),
                trouble="" if status == "alive" and connected else "trouble",
                dead_seconds=draw(st.sampled_from([1.0, LONG])) if gone else 0.0,
                moved_seconds=draw(st.sampled_from([0.0, LONG])),
                observes=number < count and draw(st.integers(0, 5)) == 0,
            )
        )
    return View(
        leader="s1",
        voters=tuple(peer(name) for name in NAMES[:count]),
        servers=tuple(servers),
        barred=tuple(draw(st.sets(st.sampled_from(NAMES), max_size=2))),
        settings=having(
            cleanup_dead_servers=draw(st.booleans()), min_quorum=draw(st.integers(0, 6))
        ),
    )


@settings(max_examples=400, deadline=None)
@given(views())
def test_no_decision_takes_a_majority_or_goes_below_the_least_and_all_settles(seen: View) -> None:
    for _ in range(2 * len(NAMES)):
        change = decide(seen)
        if change is None:
            break
        before = {voter.id for voter in seen.voters}
        after = {voter.id for voter in change.voters}
        removed, added = before - after, after - before
        assert len(change.voters) == len(after) <= VOTERS_MAX
        assert "s1" in after
        assert len(removed) <= (len(before) - 1) // 2
        assert not removed or len(after) >= seen.settings.min_quorum
        servers = {server.id: server for server in seen.servers}
        connected = {name for name, server in servers.items() if server.connected}
        deciding = {name for name in connected if not servers[name].observes}
        assert len(before & deciding) > len(before) // 2
        assert len(after & connected) > len(after) // 2
        for name in removed:
            assert servers[name].status != "alive"
        for name in added:
            assert not hindrance(seen, servers[name])
        addresses = [voter.address for voter in change.voters]
        assert len(set(addresses)) == len(addresses)
        whole = tuple(msgspec.structs.replace(one, observes=False) for one in seen.servers)
        seen = msgspec.structs.replace(seen, voters=change.voters, servers=whole)
    assert decide(seen) is None
