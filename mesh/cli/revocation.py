"""meshctl tls revoke, revoked and unrevoke: certificates of nodes that servers refuse."""

from __future__ import annotations

import ssl
from pathlib import Path

from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.flags import DATACENTER, Argument, Flag
from mesh.cli.invocation import Invocation
from mesh.client.call import ReadOptions
from mesh.client.shapes_tls import Revoked
from mesh.errors import Invalid
from mesh.revocation import Named, read, read_serial
from mesh.tls import FILE_BYTES_MAX, pem_blocks

COLUMNS = ("Serial", "Names", "Reason", "Revoked", "By", "Expires")
NAMES_SHOWN = 2


def revoke(invocation: Invocation) -> int:
    """Revoke a certificate."""
    parsed, word = invocation.parsed, invocation.parsed.arguments[0]
    pem = _certificate(word)
    one = invocation.client.operator.revoke(
        certificate=pem,
        serial="" if pem else _serial(word),
        reason=parsed.text("reason"),
        force=parsed.switch("force"),
        datacenter=parsed.text("datacenter"),
    )
    if invocation.out.as_json:
        invocation.out.json(one)
        return OK
    invocation.out.lines(one, [f"{_described(one)} is revoked. Servers refuse it from now on."])
    if not pem:
        invocation.out.note("Whether there is such a certificate is not known to anybody.")
    return OK


def unrevoke(invocation: Invocation) -> int:
    """Believe a certificate again."""
    word = invocation.parsed.arguments[0]
    named = _named(word)
    done = invocation.client.operator.unrevoke(
        named.serial, issuer=named.issuer, datacenter=invocation.parsed.text("datacenter")
    )
    said = "is believed again" if done else "was not revoked"
    invocation.out.done(f"{named.serial} {said}.", SerialNumber=named.serial, Done=done)
    return OK if done else FAILED


def revoked(invocation: Invocation) -> int:
    """List what is revoked."""
    out = invocation.out
    options = ReadOptions(datacenter=invocation.parsed.text("datacenter"))
    found = invocation.client.operator.revoked(options).value
    if not found and not out.as_json:
        out.lines([], ["No certificate is revoked."])
        return OK
    rows = [
        (
            one.serial_number,
            ", ".join(one.names[:NAMES_SHOWN]),
            one.reason,
            one.time,
            one.by,
            one.expires,
        )
        for one in found
    ]
    out.table(found, COLUMNS, rows)
    return OK


def _described(one: Revoked) -> str:
    names = f" ({', '.join(one.names[:NAMES_SHOWN])})" if one.names else ""
    return f"{one.serial_number}{names}"


def _certificate(word: str) -> str:
    """The certificate in the file of this name, without its key; empty when there is no file."""
    path = Path(word)
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX).decode("ascii", "replace")
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}") from error
    blocks = pem_blocks(text)
    if not blocks:
        raise Invalid(f"{path}: holds no certificate in PEM form")
    return blocks[0]


def _serial(word: str) -> str:
    try:
        return read_serial(word)
    except Invalid as error:
        raise Invalid(f'"{word}" is neither a file nor a serial number in hexadecimal') from error


def _named(word: str) -> Named:
    pem = _certificate(word)
    if not pem:
        return Named(_serial(word), "")
    try:
        return read(ssl.PEM_cert_to_DER_cert(pem))
    except ValueError as error:
        raise Invalid(f"{word}: a certificate in it is damaged") from error


_WHICH = Argument("FILE|SERIAL")

COMMANDS = {
    "tls revoke": Command(
        revoke,
        about="Have every server refuse a node's certificate, although it has not expired: new\n"
        "connections that show it are turned away and counted, and open ones are closed at once.\n"
        "A serial number alone stands for the certificate of whichever authority; openssl x509\n"
        "-noout -serial prints it. Other datacenters have lists of their own (--datacenter).",
        examples=(
            Example("tls revoke dc1-client-mesh-0.pem --reason 'laptop stolen'", "By its file"),
            Example("tls revoke 5A:0F:33:91", "By its serial number"),
            Example("tls revoke dc1-server-mesh-0.pem --force", "That of the leader itself"),
        ),
        arguments=(_WHICH,),
        flags=(
            Flag("reason", "why, for whoever looks, and for who is refused", value="TEXT"),
            Flag(
                "force",
                "even that of the agent asked, of the leader, or one that costs the majority",
                "switch",
            ),
            DATACENTER,
        ),
        exits=("1: it is one that only -force revokes, or it failed",),
    ),
    "tls revoked": Command(
        revoked,
        about="List the certificates that are revoked, and when each would have expired anyway.",
        examples=(Example("tls revoked", "What is revoked, why, when and by whom"),),
        flags=(DATACENTER,),
    ),
    "tls unrevoke": Command(
        unrevoke,
        about="Have servers believe a certificate again. Who was turned away tries again by\n"
        "itself.",
        examples=(Example("tls unrevoke 5A0F3391", "By its serial number"),),
        arguments=(_WHICH,),
        flags=(DATACENTER,),
        exits=("1: it was not revoked, or it failed",),
    ),
}
