"""The errors mesh reports: each has a stable code, a message for a person, and says if to retry."""

from __future__ import annotations

from typing import ClassVar


class MeshError(Exception):
    """An operating error with a message for a person. Programmer errors are assertions instead.

    `code` is stable and travels between nodes; `retry` says whether the same request, with the
    same request id, may succeed later without anybody changing anything.
    """

    code: ClassVar[str] = "internal"
    retry: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotFound(MeshError):
    """What was asked for does not exist."""

    code = "not-found"


class Denied(MeshError):
    """The caller may not do this; the message names the rule that decided."""

    code = "denied"


class Invalid(MeshError):
    """The request or the bytes cannot be understood; the message names the field and the fix."""

    code = "invalid"


class Conflict(MeshError):
    """The request contradicts the present state."""

    code = "conflict"


class TooLarge(MeshError):
    """A body, frame or value is over its limit."""

    code = "too-large"


class NoLeader(MeshError):
    """No server leads at the moment. Nothing was done; try again."""

    code = "no-leader"
    retry = True


class Busy(MeshError):
    """A limit is reached. Nothing was done; try again later."""

    code = "busy"
    retry = True


class DiskFull(MeshError):
    """A server's disk is almost full. Nothing was done; somebody must make room."""

    code = "disk-full"


class Unreachable(MeshError):
    """The other side did not answer, or the connection broke before the request was sent."""

    code = "unreachable"
    retry = True


class NoPath(MeshError):
    """There is no such datacenter, as far as the servers here know."""

    code = "no-path"


class Cutoff(MeshError):
    """No server of another datacenter can be reached. Nothing was done; try again later.

    Unlike `Unreachable` it is no fault of the server that was asked, so another one is no better.
    """

    code = "cut-off"
    retry = True


class OutcomeUnknown(MeshError):
    """The write may or may not have happened. A retry with the same request id applies it once.

    `request` is that id and `since` a log index that was applied before the first attempt; both
    are set where the write entered.
    """

    code = "outcome-unknown"
    retry = True

    def __init__(self, message: str, request: str = "", since: int = 0) -> None:
        super().__init__(message)
        self.request, self.since = request, since


class Outdated(MeshError):
    """This copy of a request is too old to tell from one already done: it was not applied.

    If it is the only copy ever sent, it may be sent again as known at log index `index`. `request`
    and `since` are as in OutcomeUnknown.
    """

    code = "outdated"
    retry = True

    def __init__(self, message: str, index: int = 0, request: str = "", since: int = 0) -> None:
        super().__init__(message)
        self.index, self.request, self.since = index, request, since


class Cancelled(MeshError):
    """The request was cancelled before it was applied, and never will be."""

    code = "cancelled"


class Internal(MeshError):
    """Something failed that mesh did not foresee; the log of the node that failed says more."""

    code = "internal"


def explained(error: BaseException) -> str:
    """An error as one line for a person; one of the system's names its file first."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or repr(error)


BY_CODE: dict[str, type[MeshError]] = {
    kind.code: kind
    for kind in (
        NotFound,
        Denied,
        Invalid,
        Conflict,
        TooLarge,
        NoLeader,
        Busy,
        DiskFull,
        Unreachable,
        NoPath,
        Cutoff,
        OutcomeUnknown,
        Outdated,
        Cancelled,
        Internal,
    )
}


def from_code(code: str, message: str) -> MeshError:
    """Rebuild an error that another node reported. An unknown code becomes `Internal`."""
    return BY_CODE.get(code, Internal)(message)
