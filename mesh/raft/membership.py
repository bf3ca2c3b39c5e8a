"""Changes of membership and hand-over of leadership, as the leader carries them out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from mesh.clock import Clock
from mesh.codec import pack
from mesh.errors import Conflict, Invalid, MeshError, NoLeader
from mesh.raft.driver import Driver
from mesh.raft.epochs import Epoch, Peer, check_voters
from mesh.raft.waiting import Waiting, settle

TRAILING_MAX = 1000  # Entries that a server may lack and still become a voter.


class PeerProgress(msgspec.Struct, frozen=True):
    """What the leader knows of another server. `last_contact` is in seconds, infinite if never.

    A voter that `observes` lost its disk, and has a vote again only in the next epoch.
    """

    match: int
    last_contact: float
    connected: bool
    caught_up: bool
    observes: bool


def progress(driver: Driver, clock: Clock) -> dict[str, PeerProgress]:
    """On the leader, what is known of every other server, by id; empty elsewhere."""
    leading = driver.replica.leading
    if leading is None:
        return {}
    now, commit = clock.monotonic(), driver.replica.engine.commit
    return {
        name: PeerProgress(
            match=peer.match,
            last_contact=now - peer.heard.sent,
            connected=peer.connected,
            caught_up=peer.match > 0 and commit <= peer.match + TRAILING_MAX,
            observes=name in driver.transport.observing,
        )
        for name, peer in leading.everybody.items()
    }


class Proposal(msgspec.Struct, frozen=True):
    """The next voters; ids that must not become voters by themselves; and why."""

    voters: Sequence[Peer]
    barred: Sequence[str] = ()
    reason: str = ""


async def change(driver: Driver, proposal: Proposal, clock: Clock, waiting: Waiting) -> int:
    """Propose a stop-sign; its log index once it is committed. See `Node.change`."""
    ordered, replica, now = check_voters(proposal.voters), driver.replica, driver.place.epoch
    if replica.leading is None:
        raise NoLeader("this server does not lead")
    present = {voter.id for voter in now.voters}
    _check_ready(driver.me, ordered, present, progress(driver, clock))
    barred = tuple(sorted(proposal.barred))
    following = Epoch(now.cluster, now.number + 1, ordered, barred=barred, reason=proposal.reason)
    future = waiting.begin()

    def done(index: int, result: object, error: MeshError | None) -> None:
        settle(future, (index, result), error)

    replica.propose_stop(pack(following), done)
    driver.poke()
    index, _ = await future
    return index


def _check_ready(
    me: str, voters: Sequence[Peer], present: set[str], known: dict[str, PeerProgress]
) -> None:
    ready = {name for name, peer in known.items() if peer.connected and peer.caught_up} | {me}
    names = {voter.id: voter.name for voter in voters}
    if behind := sorted(set(names) - present - ready):
        who = ", ".join(names[one] for one in behind)
        raise Conflict(f"{who} does not follow the log closely yet; try again later")
    if 2 * len(ready & set(names)) <= len(names):
        raise Conflict("less than a majority of the new voters is up and follows the log")


async def transfer(driver: Driver, to: str, clock: Clock, waiting: Waiting) -> None:
    """Hand leadership to this voter, or to the one that is furthest. See `Node.transfer`."""
    if driver.replica.leading is None:
        raise NoLeader("this server does not lead")
    if not to:
        known = progress(driver, clock)
        others = [name for name in driver.place.epoch.voter_ids if name in known]
        if not others:
            raise Invalid("there is no other voter to hand leadership to")
        to = max(others, key=lambda name: (known[name].connected, known[name].match))
    future: asyncio.Future[tuple[int, object]] = waiting.begin()
    driver.replica.transfer(to, lambda error: settle(future, (0, None), error))
    driver.poke()
    await future
