"""What a leader believes of one voter."""

from mesh.raft.journal import Journal
from mesh.raft.messages import Probe
from mesh.raft.progress import Progress

PROBE = Probe(1, 0.0)


def journal(count: int) -> Journal:
    made = Journal()
    for index in range(1, count + 1):
        made.append(b"\x00x", index, 1)
    return made


def test_one_reset_is_obeyed_per_generation() -> None:
    log, progress = journal(9), Progress(9, connected=True)
    assert progress.reset(0, 5)
    assert not progress.reset(0, 2)
    first = progress.next_entries(log, 1, PROBE, 1)
    assert first is not None
    assert (first.generation, first.prev_index, len(first.entries)) == (1, 4, 5)
    assert progress.next_entries(log, 1, PROBE, 1) is None
    assert progress.reset(1, 2)
    assert progress.sent == 1


def test_what_it_acknowledged_is_sent_again_only_if_it_forgot_it() -> None:
    progress = Progress(9, connected=True)
    progress.acknowledged(7)
    progress.reconnected(connected=True)
    assert (progress.sent, progress.match) == (9, 7)
    assert progress.reset(progress.generation, 9)
    assert (progress.sent, progress.match) == (8, 7)
    assert progress.reset(progress.generation, 3)
    assert (progress.sent, progress.match) == (2, 2)
    assert progress.reset(progress.generation, 0)
    assert (progress.sent, progress.match) == (0, 0)


def test_a_heartbeat_speaks_only_of_what_left() -> None:
    log, progress = journal(5), Progress(2, connected=True)
    message = progress.next_entries(log, 1, PROBE, 1)
    assert message is not None
    assert progress.heartbeat(log, 1, PROBE, 1).prev_index == 2
    progress.left(message)
    assert progress.heartbeat(log, 1, PROBE, 1).prev_index == 5


def test_an_old_answer_does_not_prolong_a_lease() -> None:
    progress = Progress(1, connected=True)
    progress.answered(Probe(5, 50.0))
    progress.answered(Probe(4, 40.0))
    assert progress.heard == Probe(5, 50.0)
