"""What voters say to each other. Every number is checked when it is decoded."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mesh.codec import pack, unpack
from mesh.raft.epochs import Epoch

Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 62))]
CHUNK_BYTES = 256 << 10


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """First frame on a connection: who calls whom, in which epoch, named by its digest too.

    `formats` are the lowest and the highest version of this protocol that the caller speaks.
    A server that belongs to no cluster yet is in epoch 0.
    """

    formats: tuple[Number, Number]
    cluster: str
    epoch: Number
    digest: str
    caller: str
    called: str
    observes: bool = False


class Welcome(msgspec.Struct, frozen=True, array_like=True):
    """The answer. An empty refusal means welcome.

    To a caller that is behind it brings the records of the epochs since; a server that is itself
    behind says so by its epoch, and takes a Chain next.
    """

    refusal: str
    cluster: str
    epoch: Number
    observes: bool = False
    records: list[Epoch] = []


class Chain(msgspec.Struct, frozen=True, array_like=True):
    """Records of epochs, oldest first, for a server that is behind."""

    records: list[Epoch]


class Probe(msgspec.Struct, frozen=True, array_like=True):
    """Goes out with a leader's messages and comes back: round number and the leader's clock.

    In an answer also the clock of who answers; 0 when it is of a version that does not say.
    """

    round: Number
    sent: float
    shown: float = 0.0


class Append(msgspec.Struct, frozen=True, array_like=True, tag="append"):
    """Entries after `prev_index`, which has `prev_term`. A prev_index of 0 claims nothing."""

    term: Number
    generation: Number
    probe: Probe
    prev_index: Number
    prev_term: Number
    commit: Number
    entries: list[tuple[Number, bytes]]  # Term and command.


class Ack(msgspec.Struct, frozen=True, array_like=True, tag="ack"):
    """My durable log equals yours up to this index."""

    term: Number
    index: Number
    probe: Probe


class Reset(msgspec.Struct, frozen=True, array_like=True, tag="reset"):
    """My log does not fit; send again from `hint`. Answers the request of this generation."""

    term: Number
    generation: Number
    hint: Number
    probe: Probe


class Stale(msgspec.Struct, frozen=True, array_like=True, tag="stale"):
    """Your term is over, mine is this."""

    term: Number


class PreVote(msgspec.Struct, frozen=True, array_like=True, tag="pre-vote"):
    """Would you vote for me in this term? Changes nothing."""

    term: Number
    ask: Number
    last_index: Number
    last_term: Number


class PreVoteReply(msgspec.Struct, frozen=True, array_like=True, tag="pre-vote-reply"):
    """The answer to the question with this number."""

    term: Number
    ask: Number
    granted: bool


class Vote(msgspec.Struct, frozen=True, array_like=True, tag="vote"):
    """Vote for me in this term."""

    term: Number
    last_index: Number
    last_term: Number
    transfer: bool = False
    """The leader asked the candidate to take over, so nobody has to wait for it to be silent."""


class VoteReply(msgspec.Struct, frozen=True, array_like=True, tag="vote-reply"):
    """You have my vote in this term."""

    term: Number


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, tag="timeout-now"):
    """Take over from me: ask for votes at once (Ongaro, "Consensus", section 3.10)."""

    term: Number


class Chunk(msgspec.Struct, frozen=True, array_like=True, tag="chunk"):
    """A piece of a snapshot file, which holds the state after (index, entry_term)."""

    term: Number
    probe: Probe
    index: Number
    entry_term: Number
    size: Number
    offset: Number
    data: bytes


class ChunkReply(msgspec.Struct, frozen=True, array_like=True, tag="chunk-reply"):
    """I hold this many bytes of the snapshot with this index; go on from there."""

    term: Number
    probe: Probe
    index: Number
    received: Number


class Pull(msgspec.Struct, frozen=True, array_like=True, tag="pull"):
    """I need the state this epoch starts from: send the snapshot with this index from offset on.

    Index 0 means the newest. Anybody who has one answers, whether or not somebody leads.
    """

    index: Number
    offset: Number


class Piece(msgspec.Struct, frozen=True, array_like=True, tag="piece"):
    """A piece of a snapshot file, as asked for by Pull."""

    index: Number
    entry_term: Number
    size: Number
    offset: Number
    data: bytes


Message = (
    Append
    | Ack
    | Reset
    | Stale
    | PreVote
    | PreVoteReply
    | Vote
    | VoteReply
    | TimeoutNow
    | Chunk
    | ChunkReply
    | Pull
    | Piece
)


def pack_message(message: Message) -> bytes:
    """The bytes of one frame."""
    return pack(message)


def unpack_message(data: bytes) -> Message:
    """Read one frame. Raises Invalid when it is anything but a message."""
    message: Message = unpack(data, Message)  # type: ignore[arg-type]  # A union is no type[T].
    return message
