"""Whether a browser asks by a name that may be somebody else's (DNS rebinding).

A website may have its own name lead to an address that only its readers reach. To their browsers we
are that website then: its pages may read our answers, and `Origin` is no help. What gives it away
is `Host`, which no page can choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from mesh.http import origins
from mesh.http.options import Options

PRIVATE = (".localhost", ".local", ".internal", ".test", ".home.arpa")
"""Names that nobody can register (RFC 6761, 6762 and 8375; ICANN keeps `internal` for this)."""
ANY = "*"


class Hosts:
    """The names by which browsers may ask, where that is known.

    It is where names are given, or all addresses are loopback ones. By which names operators reach
    other addresses a node cannot know.
    """

    def __init__(self, options: Options) -> None:
        allowed = [*options.allowed_hosts]
        loopback = all(_is_loopback(address) for address, _ in options.addresses)
        self._on = ANY not in allowed and (bool(allowed) or loopback)
        names = [_plain(name) for name in (*allowed, *options.own_hosts)]
        self._names = {name for name in names if not name.startswith("*.")}
        self._ends = (*PRIVATE, *(name[1:] for name in names if name.startswith("*.")))

    def foreign(self, headers: Mapping[str, str]) -> str:
        """The host that a browser asks for, if that name may be somebody else's; else empty."""
        asked = headers.get("host", "")
        if not self._on or not asked:
            return ""
        name = origins.name_of(asked)
        return "" if name and self._is_ours(name) else asked

    def _is_ours(self, name: str) -> bool:
        # The public DNS has nobody's name without a dot.
        return "." not in name or name in self._names or name.endswith(self._ends) or _is_ip(name)


def is_browser(headers: Mapping[str, str]) -> bool:
    """Whether a browser sends this. Programs say nothing of the kind.

    To hosts that are neither on this machine nor asked over TLS browsers send no `Sec-Fetch-Site`,
    with what only reads no `Origin`, and `Referer` as the page likes. All send `Accept-Language`;
    with `*` Node does, too. A page may have it say that, and `User-Agent` say anything, but sends
    no `Sec-Fetch-Mode` as Node does, which names no site beside it.
    """
    if "origin" in headers or "sec-fetch-site" in headers:
        return True
    language = headers.get("accept-language")
    if language is None:
        return False
    return language != "*" or "sec-fetch-mode" not in headers


def _plain(name: str) -> str:
    return name.lower().rstrip(".")


def _is_ip(name: str) -> bool:
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
