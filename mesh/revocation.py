"""Revocation: which certificates are believed no more, by issuer and serial number.

Both are read out of the bytes of a certificate, by the same few lines wherever that happens, so
that what somebody revokes is surely what is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mesh.errors import Denied, Invalid

SERIAL_DIGITS_MAX = 64
"""RFC 5280 allows 40; some authorities take more."""
_INTEGER, _SEQUENCE, _VERSION = 0x02, 0x30, 0xA0
_SHORT = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.17": "postalCode",
    "0.9.2342.19200300.100.1.25": "DC",
}


class Revoked(Denied):
    """Somebody shows a certificate that is revoked."""

    def __init__(self, message: str, serial: str) -> None:
        super().__init__(message)
        self.serial = serial


class Named(NamedTuple):
    """What tells a certificate from all others."""

    serial: str
    """In hexadecimal, as openssl prints it."""
    issuer: str
    """The name of the authority that signed it; of a revocation empty for any."""


class Listed(NamedTuple):
    """A certificate that is revoked, and why."""

    certificate: Named
    reason: str = ""


class Revocations:
    """The certificates that are revoked."""

    def __init__(self, listed: Iterable[Listed] = ()) -> None:
        self._reasons = dict(listed)

    def __len__(self) -> int:
        return len(self._reasons)

    def has(self, certificate: Named) -> bool:
        """Whether it is revoked."""
        return any(one in self._reasons for one in _entries(certificate))

    def check(self, der: bytes | None) -> None:
        """Raise Revoked, with the reason, when this certificate is."""
        if not self._reasons or der is None:
            return
        found = read(der)
        for one in _entries(found):
            if one in self._reasons:
                reason = self._reasons[one] or "no reason was given"
                raise Revoked(f"certificate {found.serial} is revoked: {reason}", found.serial)


def _entries(certificate: Named) -> tuple[Named, Named]:
    return certificate, Named(certificate.serial, "")


def read_serial(text: str) -> str:
    """A serial number as people write it, in hexadecimal with or without colons.

    Raises Invalid when it is none, or was not copied whole.
    """
    plain = re.sub(r"[\s:]", "", text.lower().removeprefix("serial=")).removeprefix("0x")
    if not re.fullmatch(rf"[0-9a-f]{{1,{SERIAL_DIGITS_MAX}}}", plain):
        raise Invalid(f'SerialNumber: expected hexadecimal digits, got "{text[:80]}"')
    if any(len(group.strip()) != 2 for group in text.split(":")[1:]):
        raise Invalid(f'SerialNumber: expected two digits after each colon, got "{text[:80]}"')
    return _serial(int(plain, 16))


def _serial(number: int) -> str:
    digits = f"{number:X}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"


def read(der: bytes) -> Named:
    """Which certificate this is. Raises Invalid for what is no certificate."""
    try:
        tag, body, _ = _value(_value(der)[1])
        if tag != _SEQUENCE:
            raise Invalid("is no certificate")
        tag, value, rest = _value(body)
        if tag == _VERSION:
            tag, value, rest = _value(rest)
        if tag != _INTEGER:
            raise Invalid("is no certificate")
        _, _, rest = _value(rest)  # How it is signed.
        _, issuer, _ = _value(rest)
        return Named(_serial(int.from_bytes(value, "big")), ", ".join(_parts(issuer)))
    except IndexError as error:
        raise Invalid("is no certificate") from error


def _parts(name: bytes) -> Iterable[str]:
    while name:
        _, several, name = _value(name)
        while several:
            _, pair, several = _value(several)
            _, kind, rest = _value(pair)
            _, text, _ = _value(rest)
            yield f"{_kind(kind)}={text.decode('utf-8', 'backslashreplace')}"


def _kind(data: bytes) -> str:
    """An object identifier: its usual abbreviation, or its numbers."""
    numbers, number = [*divmod(data[0], 40)], 0
    for byte in data[1:]:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(number)
            number = 0
    text = ".".join(map(str, numbers))
    return _SHORT.get(text, text)


def _value(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag and value of what stands first in DER, and what follows it. Raises IndexError."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if start + length > len(data):
        raise IndexError("shorter than it says")
    return tag, data[start : start + length], data[start + length :]
