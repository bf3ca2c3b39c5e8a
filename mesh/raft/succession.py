"""Succession: what servers of different epochs tell each other when they connect. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mesh.errors import Invalid
from mesh.raft.epochs import CHAIN_MAX, Epoch, Place, check_voters, digest
from mesh.raft.messages import Hello, Welcome

FORMATS = (1, 1)  # Lowest and highest version of the protocol between servers that we speak.

Since = Callable[[int], Sequence[Epoch]]


def hello(place: Place | None, me: str, called: str) -> Hello:
    """How a server in this place introduces itself."""
    if place is None:
        return Hello(FORMATS, "", 0, "", me, called)
    epoch = place.epoch
    return Hello(FORMATS, epoch.cluster, epoch.number, digest(epoch), me, called, place.observes)


def answer(
    place: Place | None, since: Since, me: str, hello: Hello, known: Callable[[str], bool]
) -> Welcome:
    """What a server in this place answers. `known` says which ids are servers we speak with."""
    cluster, number = (place.epoch.cluster, place.epoch.number) if place else ("", 0)
    observes = place is not None and place.observes
    refusal = _refusal(place, me, hello, known)
    records: list[Epoch] = []
    if not refusal and hello.epoch < number:
        records = list(since(hello.epoch))[-CHAIN_MAX:]
    return Welcome(refusal, cluster, number, observes, records)


def _refusal(place: Place | None, me: str, hello: Hello, known: Callable[[str], bool]) -> str:
    lowest, highest = hello.formats
    if not (lowest <= FORMATS[1] and FORMATS[0] <= highest):
        return f"speaks formats {lowest} to {highest}, not {FORMATS[0]} to {FORMATS[1]}"
    if hello.called != me:
        return f"looks for {hello.called}, this is {me}"
    if place is None:
        return ""
    epoch, refusal = place.epoch, ""
    if hello.epoch and hello.cluster != epoch.cluster:
        refusal = f"is of cluster {hello.cluster}, not {epoch.cluster}"
    elif hello.epoch == epoch.number and hello.digest != digest(epoch):
        refusal = f"has another epoch {hello.epoch} than this server: one of them was recovered"
    elif hello.epoch == epoch.number and not known(hello.caller):
        refusal = f"{hello.caller} is no server of this cluster"
    return refusal


def continued(place: Place | None, records: Sequence[Epoch]) -> list[Epoch]:
    """Those of the records that are news to a server in this place, oldest first.

    Raises Invalid when they do not chain, belong to another cluster, or contradict its own epoch.
    Where records between are no longer kept, the first is believed as it is: it came from a server
    whose certificate was checked.
    """
    before = place.epoch if place is not None else None
    found: list[Epoch] = []
    for record in records:
        if before is not None and record.number <= before.number:
            continue
        if before is not None and record.cluster != before.cluster:
            raise Invalid(f"an epoch of cluster {record.cluster}, not {before.cluster}")
        follows = before is not None and record.number == before.number + 1
        if follows and before is not None and record.previous != digest(before):
            raise Invalid(f"epoch {record.number} does not follow from our epoch {before.number}")
        if not follows and found:
            raise Invalid(f"epoch {record.number} came after epoch {found[-1].number}")
        check_voters(record.voters)
        found.append(record)
        before = record
    return found


def adopted(me: str, place: Place | None, epoch: Epoch) -> Place:
    """The place of a server that learned of an epoch from another.

    A server without any past that is a voter already may have lost its disk, and with it what it
    promised in this epoch: it observes.
    """
    return Place(epoch, observes=place is None and me in epoch.voter_ids)
