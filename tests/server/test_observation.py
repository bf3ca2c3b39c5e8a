"""What the leader remembers of the servers, and for how long things have been so."""

from __future__ import annotations

import msgspec

from mesh.raft.epochs import Peer
from mesh.registry.autopilot import Settings
from mesh.server.autopilot import Server
from mesh.server.observation import Facts, Observation, Sighting, by_id, followers
from tests.server.electorate import Known, peer

ME = peer("s1")
HEARTBEAT = 0.1


def seen(name: str, status: str = "alive", /, **more: object) -> Sighting:
    one = peer(name)
    made = Sighting(one.id, one.name, one.address, "alive")
    return msgspec.structs.replace(made, status=status, **more)


class Watch:
    """An observation, and what it is shown."""

    def __init__(self, *voters: str) -> None:
        self.voters = [ME, *(peer(name) for name in voters)]
        self.known = {voter.id: Known(match=1000) for voter in self.voters[1:]}
        self.sightings = [seen(voter.name) for voter in self.voters]
        self.observation = Observation()

    def look(self, now: float, last_index: int = 1000) -> dict[str, Server]:
        facts = Facts(ME.id, self.voters, self.known, last_index, HEARTBEAT)
        servers = self.observation.look(facts, self.sightings, Settings(), now)
        return {server.name: server for server in servers}


def test_health_and_its_duration() -> None:
    watch = Watch("s2")
    assert watch.look(100.0)["s2"].steady_seconds == 0.0
    assert watch.look(107.0)["s2"].steady_seconds == 7.0
    # Within the threshold after the heartbeat that is due.
    watch.known["id-s2"].last_contact = 0.3
    assert watch.look(108.0)["s2"].trouble == ""
    watch.known["id-s2"].last_contact = 0.31
    assert watch.look(109.0)["s2"].trouble == "not heard in time"
    assert watch.look(112.0)["s2"].steady_seconds == 3.0
    watch.known["id-s2"].last_contact = 0.0
    assert watch.look(113.0, 1250)["s2"].trouble == ""
    assert watch.look(113.0, 1251)["s2"].trouble == "too many log entries behind"
    watch.known["id-s2"].connected = False
    assert watch.look(114.0)["s2"].trouble == "not connected"
    assert watch.look(114.0)["s1"].trouble == ""


def test_dead_is_who_neither_gossip_nor_raft_hears_without_a_break() -> None:
    watch = Watch("s2")
    watch.sightings[1] = seen("s2", "failed")
    assert watch.look(0.0)["s2"].dead_seconds == 0.0
    assert watch.look(50.0)["s2"].dead_seconds == 0.0
    watch.known["id-s2"].connected = False
    watch.look(60.0)
    assert watch.look(90.0)["s2"].dead_seconds == 30.0
    watch.sightings[1] = seen("s2")
    assert watch.look(95.0)["s2"].dead_seconds == 0.0
    watch.sightings[1] = seen("s2", "failed")
    assert watch.look(100.0)["s2"].dead_seconds == 0.0
    assert watch.look(110.0)["s2"].dead_seconds == 10.0
    # Gossip may not know it at all; the address is then the voters'.
    del watch.sightings[1]
    unknown = watch.look(115.0)["s2"]
    assert (unknown.status, unknown.address, unknown.dead_seconds) == ("none", "127.0.0.1:2", 15.0)


def test_who_lost_its_vote_proves_itself_anew() -> None:
    watch = Watch("s2", "s3")
    watch.look(0.0)
    assert watch.look(100.0)["s3"].steady_seconds == 100.0
    del watch.voters[2]
    assert watch.look(101.0)["s3"].steady_seconds == 0.0
    assert watch.look(103.0)["s3"].steady_seconds == 2.0
    assert watch.look(103.0)["s2"].steady_seconds == 103.0


def test_who_follows_is_seen_and_forgotten() -> None:
    watch = Watch()
    watch.sightings.append(seen("s2"))
    assert "s2" not in watch.look(0.0)
    watch.known["id-s2"] = Known(match=10, caught_up=False)
    found = watch.look(1.0)["s2"]
    assert (found.caught_up, found.trouble) == (False, "too many log entries behind")
    watch.known["id-s2"] = Known(match=1000)
    assert watch.look(2.0)["s2"].caught_up
    watch.sightings.pop()
    watch.look(3.0)
    watch.sightings.append(seen("s2"))
    assert watch.look(9.0)["s2"].steady_seconds == 0.0


def test_an_address_has_to_last() -> None:
    watch = Watch("s2")
    watch.look(0.0)
    watch.sightings[1] = seen("s2", address="127.0.0.9:2")
    assert watch.look(5.0)["s2"].moved_seconds == 0.0
    moved = watch.look(15.0)["s2"]
    assert (moved.address, moved.moved_seconds) == ("127.0.0.9:2", 10.0)


def test_one_id_means_one_live_server() -> None:
    old, new = seen("s2", "failed"), seen("s2", name="s2-new", address="127.0.0.1:22")
    assert by_id([old, new]) == by_id([new, old]) == {"id-s2": new}
    twin = seen("s3", id="id-s2")
    assert by_id([new, twin]) == {}
    assert by_id([seen("s4", id="")]) == {}


def test_followers_are_alive_of_this_cluster_and_have_no_vote() -> None:
    pool = [seen("s4", cluster="ours"), seen("s2"), seen("s3", "failed"), seen("s1")]
    pool += [seen("s5", cluster="theirs"), seen("s6", "leaving")]
    assert followers(pool, [ME], "ours") == [
        Peer("id-s2", "s2", "127.0.0.1:2"),
        Peer("id-s4", "s4", "127.0.0.1:4"),
    ]
