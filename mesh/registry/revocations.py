"""Revocations: certificates of nodes that no server believes any more, whatever they say."""

from __future__ import annotations

from typing import ClassVar

from mesh.errors import Conflict, Invalid
from mesh.registry.levels import REVOCATION
from mesh.registry.port import Command, Query
from mesh.revocation import Named, read_serial
from mesh.store.database import Transaction, View
from mesh.store.table import Row, Table

ROWS_MAX = 4096
NAMES_MAX = 64
TEXT_MAX = 1024
"""Characters of a reason, a name or an issuer."""


class Revocation(Row, frozen=True, kw_only=True):
    """A certificate that is revoked. Times are Unix seconds."""

    history: ClassVar[str] = "revocation"
    serial: str
    """In hexadecimal, as openssl prints it."""
    issuer: str = ""
    """Who signed it; empty: whoever did."""
    reason: str = ""
    names: list[str] = []
    """The DNS names in it, as far as they are known."""
    ends: float = 0.0
    """When it expires anyway; 0 when nobody knows."""
    by: str = ""
    """Who revoked it: a token's accessor, or where the request came in."""
    time: float = 0.0

    @property
    def certificate(self) -> Named:
        """Which one it is."""
        return Named(self.serial, self.issuer)


def _key(serial: str, issuer: str) -> str:
    return f"{serial}/{issuer}" if issuer else serial


TABLE: Table[Revocation] = Table(
    "revocations",
    Revocation,
    key=lambda row: _key(row.serial, row.issuer),
    indexes={"serial": lambda row: [row.serial]},
    level=REVOCATION,
)


class All(Query[list[Revocation]], frozen=True, tag="revocations.all"):
    """Every certificate that is revoked, by serial number."""

    answer = list[Revocation]
    needs: ClassVar[int] = REVOCATION

    def run(self, view: View) -> list[Revocation]:
        """Read the table."""
        return view.every(TABLE)


class Revoke(Command[Revocation], frozen=True, tag="revocations.revoke"):
    """Revoke a certificate, or say why anew."""

    result = Revocation
    needs: ClassVar[int] = REVOCATION
    serial: str
    issuer: str = ""
    reason: str = ""
    names: list[str] = []
    ends: float = 0.0
    by: str = ""
    force: bool = False
    """Even if it is the certificate of the leader, or without it no majority is left."""

    @property
    def certificate(self) -> Named:
        """Which one it is."""
        return Named(self.serial, self.issuer)

    def validate(self) -> None:
        """The serial number is in its one form, and texts have limits."""
        if read_serial(self.serial) != self.serial:
            raise Invalid(f"SerialNumber: expected {read_serial(self.serial)} for {self.serial}")
        if len(self.names) > NAMES_MAX:
            raise Invalid(f"names: a certificate has at most {NAMES_MAX} here")
        if not 0 <= self.ends < 2**48:
            raise Invalid("ends: expected a time")
        for name, text in (("Reason", self.reason), ("Issuer", self.issuer), ("by", self.by)):
            if len(text) > TEXT_MAX:
                raise Invalid(f"{name}: {len(text)} characters; the limit is {TEXT_MAX}")
        if any(len(name) > TEXT_MAX for name in self.names):
            raise Invalid(f"names: the limit is {TEXT_MAX} characters")

    def apply(self, transaction: Transaction) -> Revocation:
        """Write the row. Those that have expired make room for it when there is none."""
        old = transaction.get(TABLE, _key(self.serial, self.issuer))
        if old is None and len(transaction.every(TABLE)) >= ROWS_MAX:
            _drop_expired(transaction)
        return transaction.put(
            TABLE,
            Revocation(
                serial=self.serial,
                issuer=self.issuer,
                reason=self.reason,
                names=self.names or (old.names if old else []),
                ends=self.ends or (old.ends if old else 0.0),
                by=self.by,
                time=transaction.time,
            ),
        )


def _drop_expired(transaction: Transaction) -> None:
    rows = transaction.every(TABLE)
    over = [row for row in rows if 0 < row.ends < transaction.time]
    if not over:
        raise Conflict(f"{len(rows)} certificates are revoked already, which is the limit")
    for row in over:
        transaction.delete(TABLE, TABLE.key(row))


class Unrevoke(Command[bool], frozen=True, tag="revocations.unrevoke"):
    """Believe a certificate again; False when it is not revoked."""

    result = bool
    needs: ClassVar[int] = REVOCATION
    serial: str
    issuer: str = ""
    """Empty: whichever is revoked with this serial number, if that is one."""

    def validate(self) -> None:
        """The serial number is in its one form."""
        if read_serial(self.serial) != self.serial:
            raise Invalid(f"SerialNumber: expected {read_serial(self.serial)} for {self.serial}")

    def apply(self, transaction: Transaction) -> bool:
        """Delete the row."""
        found = transaction.select(TABLE, "serial", self.serial)
        if self.issuer:
            found = [row for row in found if row.issuer in {self.issuer, ""}]
        elif len(found) > 1:
            issuers = "; ".join(row.issuer or "any issuer" for row in found)
            raise Conflict(
                f"{self.serial} is revoked of several issuers ({issuers}): say of which one"
            )
        for row in found:
            transaction.delete(TABLE, TABLE.key(row))
        return bool(found)
