"""Explanations: how a DNS question was answered, as plain values for whoever shows them."""

from __future__ import annotations

from typing import Literal

import msgspec


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """A question, and how it comes."""

    name: str
    kind: str = "A"
    """The type of record, such as `SRV`."""
    tcp: bool = False
    edns_bytes: int = 1232
    """How large a datagram the client takes (RFC 6891); 0 for a client without EDNS."""
    subnet: str = ""
    """Whose question a resolver passes on: an address or a network (RFC 7871)."""
    peer: str = ""
    """The address of who asks."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that may have been answered."""

    node: str
    service_id: str
    address: str
    port: int
    tags: list[str]
    status: str
    fate: Literal["answered", "left out"]
    why: str = ""
    """Why it was left out."""
    complaints: list[str] = []
    """What its checks that do not pass say."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """How a question was answered."""

    name: str
    kind: str
    over: str
    meaning: str
    """What the name was taken to ask for."""
    read: str
    """Where the data came from, and how old it is."""
    rules: list[str]
    """What decided beside the candidates themselves."""
    candidates: list[Candidate]
    """Those answered in the order of the answer, then the others."""
    code: str
    error: str = ""
    flags: list[str] = []
    answers: list[str] = []
    additional: list[str] = []
    authority: list[str] = []
    ttl: int | None = None
    """Seconds; None without an answer."""
    ttl_rule: str = ""
    made: int = 0
    """Answers before those too many were dropped; at most one more than can be sent is made."""
    size: int = 0
    size_max: int = 0
    kept: str = ""
    """Whether this very answer is kept for the next one who asks."""
