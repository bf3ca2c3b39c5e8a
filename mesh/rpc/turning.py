"""Turning away: connections on the server port that are refused, counted by reason and told."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter, OrderedDict

log = logging.getLogger(__name__)

WARN_SECONDS = 60.0
REMEMBERED_MAX = 256
"""Whom a warning was about lately."""
KINDS = ("expired", "not_yet_valid", "foreign", "no_certificate", "plain", "ended", "other")
"""Why handshakes fail: `foreign` is an authority that is not trusted here, `ended` that the other
side went or said nothing."""
REASONS = (*KINDS, "revoked", "denied")
"""How a handshake failed; a certificate that is revoked; one that does not allow what was asked."""

_OF_CODES = {9: "not_yet_valid", 10: "expired"} | dict.fromkeys((2, 7, 18, 19, 20, 21), "foreign")
"""By the codes of openssl-verification-options(1)."""


class Turned:
    """Counts who was turned away; once a minute a reason, or a certificate, is a warning."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self._warned: OrderedDict[tuple[str, str], float] = OrderedDict()

    def note(self, reason: str, text: str, who: str = "") -> None:
        """Somebody was, for this reason; `who` is what tells them from others."""
        self.counts[reason] += 1
        now, level, key = asyncio.get_running_loop().time(), logging.DEBUG, (reason, who)
        if now - self._warned.get(key, float("-inf")) >= WARN_SECONDS:
            self._warned[key], level = now, logging.WARNING
            self._warned.move_to_end(key)
            if len(self._warned) > REMEMBERED_MAX:
                self._warned.popitem(last=False)
        log.log(level, "%s (%s: %d so far)", text, reason, self.counts[reason])


def kind_of(error: OSError) -> str:
    """Why a handshake that we accepted failed, as one of KINDS: for counting."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _OF_CODES.get(error.verify_code, "other")
    if isinstance(error, ssl.SSLError):
        reason = str(error.reason or error).lower().replace("_", " ")
        if "did not return a certificate" in reason:
            return "no_certificate"
        plain = ("wrong version", "http request", "unknown protocol", "record layer failure")
        return "plain" if any(text in reason for text in plain) else "other"
    return "ended" if isinstance(error, ConnectionError) else "other"
