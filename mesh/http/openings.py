"""Openings: what precedes the body of a response, made once a second."""

from __future__ import annotations

from email.utils import formatdate

from mesh.http import respond, wire
from mesh.http.options import Options
from mesh.http.request import JSON

OPENINGS_MAX = 256
"""So many different beginnings of responses are kept for a second."""
SERVER = "mesh"
FRAMING = {"connection", "content-length", "content-type", "date", "transfer-encoding"}
"""Headers that the operator cannot choose: a client could not read the response."""


class Openings:
    """The headers that every response has, as bytes."""

    def __init__(self, options: Options) -> None:
        given = {"Server": SERVER} | {
            name: value
            for name, value in options.response_headers.items()
            if name.lower() not in FRAMING
        }
        given["X-Consul-Default-ACL-Policy"] = options.default_acl_policy
        # The last one counts, in whatever case it was written.
        latest = {name.lower(): (name, value) for name, value in given.items()}
        self._fixed = b"".join(wire.field(name, value) for name, value in latest.values())
        self._second, self._lines = -1, b""
        self._openings: dict[tuple[int, int], bytes] = {}
        self._booleans: dict[bool, bytes] = {}

    def lines(self, now: float) -> bytes:
        """Them and the date."""
        if int(now) != self._second:
            self._second = int(now)
            self._lines = self._fixed + wire.field("Date", formatdate(now, usegmt=True))
            self._openings.clear()
            self._booleans.clear()
        return self._lines

    def boolean(self, result: bool, now: float) -> bytes:
        """A whole response that says true or false."""
        if int(now) != self._second or result not in self._booleans:
            body = respond.boolean(result).body
            self._booleans[result] = self.opening(200, len(body), now) + body
        return self._booleans[result]

    def opening(self, status: int, length: int, now: float) -> bytes:
        """What precedes a JSON body of so many bytes, with no header but these."""
        lines = self.lines(now)
        opening = self._openings.get((status, length))
        if opening is None:
            framing = b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n" % (JSON.encode(), length)
            opening = wire.STATUS_LINES[status] + lines + framing
            if len(self._openings) < OPENINGS_MAX:
                self._openings[status, length] = opening
        return opening
