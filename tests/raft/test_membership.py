"""Changes of membership on real disks and sockets: servers join, leave, sleep and come back."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mesh.errors import Conflict, Invalid, MeshError, NoLeader, OutcomeUnknown
from mesh.raft.node import Options, Peer
from tests.raft.cluster import free_ports, until
from tests.raft.server import Server


class Site:
    """Some servers in one process, each with its own disk."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self.servers: dict[str, Server] = {}
        self.peers: dict[str, Peer] = {}

    async def start(self, name: str, *, threshold: int = 16384) -> Server:
        if name not in self.peers:
            self.peers[name] = Peer(f"id-{name}", name, f"127.0.0.1:{free_ports(1)[0]}")
        options = Options(str(self._top / name), (0.25, 0.5), 0.05, snapshot_threshold=threshold)
        server = self.servers[name] = Server(self.peers[name], options)
        server.node.founding = False
        await server.start()
        self.introduce()
        return server

    def introduce(self) -> None:
        """Everybody knows of everybody, as through gossip."""
        for server in self.servers.values():
            voters = {voter.id for voter in server.node.voters}
            others = [peer for peer in self.peers.values() if peer.id not in voters]
            server.node.follow(others)

    async def stop(self, name: str) -> None:
        await self.servers.pop(name).stop()

    async def found(self, *names: str) -> None:
        for name in names:
            await self.start(name)
        for name in names:
            self.servers[name].node.founding = True
        for name in names:
            self.servers[name].node.bootstrap([self.peers[name] for name in names])
        self.introduce()
        await self.leader()

    async def leader(self) -> Server:
        async def find() -> Server | None:
            self.introduce()
            leaders = [one for one in self.servers.values() if one.node.leased()]
            return max(leaders, key=epoch_of, default=None)

        found: Server = await until(find)
        return found

    async def write(self, *commands: str) -> None:
        for command in commands:
            while not await self._try_write(command.encode()):
                await asyncio.sleep(0.01)

    async def _try_write(self, command: bytes) -> bool:
        """Whether it is written: where a busy machine changed the leader meanwhile, look."""
        leader = await self.leader()
        try:
            await leader.node.propose(command)
        except NoLeader:
            return False
        except OutcomeUnknown:
            found: str = await until(lambda: self._is_written(command))
            return found == "yes"
        return True

    async def _is_written(self, command: bytes) -> str:
        leader = await self.leader()
        try:
            await leader.node.barrier()
        except MeshError:
            return ""
        return "yes" if command in leader.machine.commands else "no"

    async def change(self, *names: str) -> None:
        """Make these the voters, as soon as they are ready."""
        await until(lambda: self._try_change(names))
        self.introduce()

    async def _try_change(self, names: tuple[str, ...]) -> bool:
        try:
            leader = await self.leader()
            await leader.node.change([self.peers[name] for name in names])
        except (Conflict, NoLeader):
            return False
        return True

    async def all_hold(self, *commands: str) -> None:
        """Every server has applied exactly these, in this order."""
        wanted = [command.encode() for command in commands]

        async def same() -> bool:
            self.introduce()
            return all(one.machine.commands == wanted for one in self.servers.values())

        await until(same)
        assert not [error for one in self.servers.values() for error in one.fatal]

    async def voters_are(self, *names: str) -> None:
        wanted = sorted(names)

        async def same() -> bool:
            self.introduce()
            return all(voters_of(one) == wanted for one in self.servers.values())

        await until(same)


def epoch_of(server: Server) -> int:
    return server.node.epoch


def voters_of(server: Server) -> list[str]:
    return sorted(voter.name for voter in server.node.voters)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    yield made
    for name in list(made.servers):
        await made.stop(name)


async def test_one_grows_to_three_and_five_and_shrinks_back(site: Site) -> None:
    await site.found("a")
    await site.write("1", "2")
    for name in "bc":
        await site.start(name)
    await site.all_hold("1", "2")
    await site.change("a", "b", "c")
    await site.write("3")
    for name in "de":
        await site.start(name)
    await site.change("a", "b", "c", "d", "e")
    await site.write("4")
    await site.voters_are("a", "b", "c", "d", "e")
    await site.change("d")
    await site.write("5")
    await site.all_hold("1", "2", "3", "4", "5")
    await site.voters_are("d")
    assert {epoch_of(one) for one in site.servers.values()} == {4}


async def test_the_change_survives_a_restart_of_all(site: Site) -> None:
    await site.found("a")
    await site.write("1")
    await site.start("b")
    await site.change("a", "b")
    await site.write("2")
    for name in "ab":
        await site.stop(name)
    for name in "ab":
        await site.start(name)
    await site.write("3")
    await site.all_hold("1", "2", "3")


async def test_before_its_first_snapshot_an_epoch_starts_from_the_past(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.raft.driver.Driver._compact", lambda _: None)
    await site.found("a")
    await site.write("1")
    for number in range(3):
        await site.change("a")
        await site.write(f"in {number}")
    await site.stop("a")
    again = await site.start("a")
    assert epoch_of(again) == 4
    await site.write("2")
    await site.all_hold("1", "in 0", "in 1", "in 2", "2")


async def test_the_past_is_forgotten_after_the_first_snapshot(site: Site, tmp_path: Path) -> None:
    await site.found("a")
    await site.write("1")
    await site.change("a")

    async def gone() -> bool:
        return not (tmp_path / "a" / "epoch-00000001" / "journal").exists()

    await until(gone)
    assert (tmp_path / "a" / "epoch-00000001" / "epoch.json").exists()
    await site.stop("a")
    await site.start("a")
    await site.all_hold("1")


async def test_a_leader_removes_itself(site: Site) -> None:
    await site.found("a", "b", "c")
    await site.write("1")
    leader = await site.leader()
    rest = [name for name in "abc" if site.servers[name] is not leader]
    await site.change(*rest)
    await site.write("2")
    await site.all_hold("1", "2")
    assert not leader.node.is_leader
    assert (await site.leader()).me.name in rest
    with pytest.raises(NoLeader):
        await leader.node.propose(b"x")


async def test_leadership_is_handed_over(site: Site) -> None:
    await site.found("a", "b", "c")
    before = await site.leader()
    term = before.node.term
    heir = next(one for one in site.servers.values() if one is not before)
    with pytest.raises(Invalid, match="no other voter"):
        await before.node.transfer("nobody")
    with pytest.raises(NoLeader):
        await heir.node.transfer()
    assert await before.node.transfer(heir.me.id) == heir.me
    assert await site.leader() is heir
    assert heir.node.term == term + 1
    assert not before.node.is_leader
    await site.write("1")
    await site.all_hold("1")


async def test_a_single_voter_has_nobody_to_hand_over_to(site: Site) -> None:
    await site.found("a")
    with pytest.raises(Invalid, match="no other voter"):
        await (await site.leader()).node.transfer()


async def test_one_that_slept_through_three_epochs_catches_up(site: Site) -> None:
    await site.found("a", "b", "c")
    await site.write("1")
    leader = (await site.leader()).me.name
    sleeper = next(name for name in "abc" if name != leader)
    await site.all_hold("1")
    await site.stop(sleeper)
    for number in "234":
        await site.change("a", "b", "c")
        await site.write(number)
    await site.start(sleeper)
    await site.all_hold("1", "2", "3", "4")
    await site.voters_are("a", "b", "c")
    others = [name for name in "abc" if name != sleeper]
    await site.stop(others[0])  # Its vote counts again: without it there is no majority.
    await site.write("5")
    await site.all_hold("1", "2", "3", "4", "5")


async def test_one_that_was_removed_while_away_learns_it(site: Site) -> None:
    await site.found("a", "b", "c")
    leader = (await site.leader()).me.name
    gone = next(name for name in "abc" if name != leader)
    rest = [name for name in "abc" if name != gone]
    await site.stop(gone)
    await site.change(*rest)
    await site.write("1")
    back = await site.start(gone)
    await site.voters_are(*rest)
    await site.all_hold("1")
    assert back.node.leader == (await site.leader()).me


async def test_a_voter_that_lost_its_disk_has_no_vote_until_the_next_epoch(
    site: Site, tmp_path: Path
) -> None:
    await site.found("a", "b", "c")
    await site.write("1")
    leader = await site.leader()
    lost = next(name for name in "abc" if name != leader.me.name)
    await site.stop(lost)
    shutil.rmtree(tmp_path / lost)
    back = await site.start(lost)
    await site.all_hold("1")
    assert back.node.status()["observes"] is True

    async def noticed() -> bool:
        progress = (await site.leader()).node.progress().get(site.peers[lost].id)
        return progress is not None and progress.observes

    await until(noticed)
    other = next(name for name in "abc" if name not in (lost, leader.me.name))
    await site.stop(other)

    async def without_leader() -> bool:
        return not leader.node.is_leader or leader.node.progress()[back.me.id].connected

    await until(without_leader)
    await site.start(other)
    await site.change("a", "b", "c")

    async def has_a_vote() -> bool:
        return back.node.status().get("observes") is False

    await until(has_a_vote)
    await site.write("2")
    await site.all_hold("1", "2")


async def test_a_server_that_does_not_follow_cannot_become_a_voter(site: Site) -> None:
    await site.found("a")
    leader = await site.leader()
    stranger = Peer("id-z", "z", "127.0.0.1:1")
    with pytest.raises(Conflict, match="z does not follow"):
        await leader.node.change([site.peers["a"], stranger])
    with pytest.raises(Invalid, match="1 to 15"):
        await leader.node.change([])
    with pytest.raises(Invalid, match="distinct"):
        await leader.node.change([site.peers["a"], site.peers["a"]])
    assert epoch_of(leader) == 1
    await site.write("1")


async def test_writes_go_on_across_changes(site: Site) -> None:
    await site.found("a", "b", "c")
    done: list[str] = []
    running = True

    async def client(name: str) -> None:
        number = 0
        while running:
            number += 1
            command = f"{name}-{number}"
            try:
                await (await site.leader()).node.propose(command.encode())
            except MeshError:
                continue
            done.append(command)

    clients = [asyncio.create_task(client(name)) for name in ("x", "y", "z")]
    for names in ("ab", "abc", "bc", "abc", "c", "abc"):
        await site.change(*names)
        count = len(done)
        await until(enough(done, count + 20))
    running = False
    await asyncio.gather(*clients)

    async def same() -> bool:
        logs = [one.machine.commands for one in site.servers.values()]
        return all(log == logs[0] for log in logs)

    await until(same)
    log = [command.decode() for command in site.servers["a"].machine.commands]
    assert set(done) <= set(log)
    assert len(set(log)) == len(log)


def enough(done: list[str], count: int) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        return len(done) >= count

    return reached
