"""Figures: what one member knows of the others."""

import pytest

from mesh.clock import SeededDice
from mesh.gossip.figures import Accusation
from mesh.gossip.messages import Ack, Alive, Dead, Ping, Suspect
from mesh.gossip.options import Options
from mesh.gossip.pool import Pool
from mesh.gossip.swim import Send


def settled() -> Pool:
    pool = Pool("me", Options(), SeededDice(1), 0.0)
    pool.enter(0.0, "10.0.0.100", 7946, b"")
    for number in range(1, 10):
        pool.swim.alive(0.0, Alive(1, f"p{number}", bytes((10, 0, 0, number)), 7946))
    return pool


def test_who_suspects_whom_and_for_how_long() -> None:
    pool = settled()
    pool.swim.suspect(10.0, Suspect(1, "p1", "p2"))
    pool.swim.suspect(11.0, Suspect(1, "p1", "p3"))
    pool.swim.dead(12.0, Dead(1, "p4", "p2"))
    figures = {one.node: one for one in pool.figures(13.0)}
    assert list(figures) == sorted(figures)
    suspect = figures["p1"]
    assert (suspect.state, suspect.state_seconds, suspect.incarnation) == ("suspect", 3.0, 1)
    assert isinstance(suspect.accusation, Accusation)
    assert suspect.accusation.accusers == ("p2", "p3")
    assert (suspect.accusation.awaited, suspect.accusation.running_seconds) == (1, 3.0)
    deadline = pool.swim.suspicions["p1"].deadline
    assert suspect.accusation.left_seconds == pytest.approx(deadline - 13.0)
    assert (figures["p4"].state, figures["p4"].accusation) == ("dead", None)
    assert (figures["me"].state, figures["me"].rtt_seconds) == ("alive", None)


def test_who_answered_when() -> None:
    pool = settled()
    pool.take(0.0)
    due = pool.probing.deadline()
    pool.probing.tick(due)
    [ping] = [
        message
        for send in pool.take(due)
        if isinstance(send, Send)
        for message in send.messages
        if isinstance(message, Ping)
    ]
    pool.receive(due + 0.25, Ack(ping.seq, pool.vivaldi.payload()), ("10.0.0.1", 7946))
    figures = {one.node: one for one in pool.figures(due + 1.0)}
    assert figures[ping.node].rtt_seconds == pytest.approx(0.25)
    assert figures[ping.node].answered_seconds == pytest.approx(0.75)
    assert [one.node for one in figures.values() if one.rtt_seconds is not None] == [ping.node]
    pool.contacts.forget(ping.node)
    assert all(one.rtt_seconds is None for one in pool.figures(due + 1.0))
