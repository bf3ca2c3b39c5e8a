"""Members: nodes of the pool as others see them, and the news about them."""

from __future__ import annotations

import enum
from typing import Literal

import msgspec


class Status(enum.IntEnum):
    """Serf's member states; the numbers are those of `/v1/agent/members`."""

    NONE = 0
    ALIVE = 1
    LEAVING = 2
    LEFT = 3
    FAILED = 4


class Member(msgspec.Struct, frozen=True):
    """A node of the pool. Versions are (lowest, highest, in use)."""

    name: str
    address: str
    port: int
    tags: dict[str, str]
    status: Status
    incarnation: int
    protocol: tuple[int, int, int] = (1, 5, 2)
    delegate: tuple[int, int, int] = (2, 5, 5)


class MemberEvent(msgspec.Struct, frozen=True):
    """Something happened to a member."""

    kind: Literal["join", "leave", "failed", "update", "reap"]
    member: Member
