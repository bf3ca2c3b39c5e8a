"""Whether a browser sends a request for a page of somebody else (RFC 6454; Fetch, 3.1).

Any website may have the browsers of its readers send requests to addresses that only they reach.
It cannot read the answers, but a change is made all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

SAME = ("same-origin", "none")
PORTS = {"http": 80, "https": 443}
ALLOW = "access-control-allow-origin"


def foreign(headers: Mapping[str, str], answers: Mapping[str, str]) -> str:
    """The website that a request comes from, if it is another than the one that is asked.

    Empty for programs, which do not say `Origin`, and for those that the headers of our answers
    (in whatever case) let read them.
    """
    origin = headers.get("origin", "")
    if not origin or headers.get("sec-fetch-site", "") in SAME:
        return ""
    if any(
        name.lower() == ALLOW and value.strip() in {"*", origin} for name, value in answers.items()
    ):
        return ""
    page = _split(origin)
    if page is None:
        return origin
    if page.scheme not in {*PORTS, ""}:
        return ""  # An extension of the browser, which its owner gave leave.
    # No page can have this header sent to another website without asking it first.
    hosts = (headers.get("host", ""), headers.get("x-forwarded-host", "").partition(",")[0])
    return "" if any(_is_same(page, host.strip()) for host in hosts) else origin


def name_of(host: str) -> str:
    """The name in a Host without its port, in lower case; empty when it is none."""
    found = _split(f"//{host}")
    return (found.hostname or "").rstrip(".") if found is not None else ""


def _is_same(page: SplitResult, host: str) -> bool:
    """Whether a page is of this host. Proxies often pass it on without its port."""
    asked = _split(f"//{host}")
    if asked is None or not asked.hostname or asked.hostname != page.hostname:
        return False
    return asked.port is None or asked.port == (page.port or PORTS.get(page.scheme))


def _split(text: str) -> SplitResult | None:
    try:
        found = urlsplit(text)
        _ = found.port
    except ValueError:
        return None
    return found
