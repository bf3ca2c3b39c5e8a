"""meshctl tls: an authority for the cluster, and the certificates that it signs."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from mesh.cli.command import OK, Command, Example
from mesh.cli.flags import Flag, Parsed, Usage
from mesh.cli.invocation import Invocation
from mesh.clock import SystemClock
from mesh.connect.certs import Authority, Pair, Role, Subject
from mesh.errors import Conflict, Invalid

DAYS_OF_CA, DAYS_OF_CERTIFICATE = 1825, 365


def create_ca(invocation: Invocation) -> int:
    """Make an authority in the present folder."""
    parsed = invocation.parsed
    domain = _domain(parsed)
    certificate = Path(f"{domain}-agent-ca.pem")
    key = Path(f"{domain}-agent-ca-key.pem")
    _absent(certificate, key)
    days = _days(parsed, DAYS_OF_CA)
    name, permitted = parsed.text("common-name"), parsed.many("additional-name-constraint")
    if parsed.switch("name-constraint"):
        permitted = ["localhost", domain, *permitted]
    elif permitted:
        raise Usage("--additional-name-constraint needs --name-constraint beside it")
    pair = Authority.make(
        SystemClock(),
        domain=domain,
        name=name,
        days=days,
        permitted=permitted,
        cluster=parsed.text("cluster-id"),
    )
    save(pair, certificate, key)
    invocation.out.done(
        f"Saved {certificate}, which every node needs.\n"
        f"Saved {key}, which signs certificates: keep it away from the nodes.",
        Certificate=str(certificate),
        Key=str(key),
    )
    return OK


def create_certificate(invocation: Invocation) -> int:
    """Sign a certificate with the authority in the present folder."""
    parsed = invocation.parsed
    role = _role(parsed)
    domain = _domain(parsed)
    subject = Subject(
        role,
        parsed.text("dc") or "dc1",
        domain,
        parsed.text("node"),
        parsed.many("additional-dnsname"),
        parsed.many("additional-ipaddress"),
    )
    ca = Path(parsed.text("ca") or f"{domain}-agent-ca.pem")
    ca_key = Path(parsed.text("key") or f"{domain}-agent-ca-key.pem")
    authority = Authority.read(_read("ca", ca), _read("key", ca_key))
    days = _days(parsed, DAYS_OF_CERTIFICATE)
    pair = authority.issue(subject, SystemClock(), days)
    certificate, key = _free_names(subject)
    save(pair, certificate, key)
    hint = ""
    if role == "server":
        hint = "\nWhoever holds the key can act as a server: keep it on that server only."
        if not subject.node:
            hint += "\nA server of mesh shows the name of its node: give --node to use it there."
    invocation.out.done(
        f"Saved {certificate} for {', '.join(subject.names)}.\nSaved {key}, its private key.{hint}",
        Certificate=str(certificate),
        Key=str(key),
    )
    return OK


def save(pair: Pair, certificate: Path, key: Path) -> None:
    """Write both as new files, the key readable for its owner only; or none of them.

    Raises Conflict for a file that exists, Invalid when one cannot be written.
    """
    made: list[Path] = []
    try:
        for path, data, mode in ((key, pair.key, 0o600), (certificate, pair.certificate, 0o644)):
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(path)
            with os.fdopen(number, "wb") as file:
                file.write(data)
    except OSError as error:
        for half in made:
            half.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise Conflict(f"{error.filename} exists already; it is not overwritten") from error
        path = error.filename or made[-1]
        raise Invalid(f"cannot write {path}: {error.strerror}") from error


def _role(parsed: Parsed) -> Role:
    roles: tuple[Role, ...] = ("server", "client", "cli")
    chosen = [role for role in roles if parsed.switch(role)]
    if len(chosen) != 1:
        raise Usage("say for whom the certificate is: one of --server, --client and --cli")
    return chosen[0]


def _domain(parsed: Parsed) -> str:
    return (parsed.text("domain") or "mesh").removesuffix(".").lower()


def _days(parsed: Parsed, usual: int) -> int:
    return usual if parsed.number("days") is None else int(parsed.number("days") or 0)


def _read(flag: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        advice = "" if path.exists() else "; make one with: meshctl tls ca create"
        raise Invalid(f"{flag}: cannot read {path}: {error.strerror}{advice}") from error


def _absent(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise Conflict(f"{path} exists already; it is not overwritten")


def _free_names(subject: Subject) -> tuple[Path, Path]:
    """dc1-server-mesh-0.pem and -0-key.pem, with the first number that neither has."""
    for number in itertools.count():
        stem = f"{subject.datacenter}-{subject.role}-{subject.domain}-{number}"
        certificate, key = Path(f"{stem}.pem"), Path(f"{stem}-key.pem")
        if not certificate.exists() and not key.exists():
            return certificate, key
    raise AssertionError("numbers do not end")


_DOMAIN = Flag("domain", "the domain of the cluster; mesh unless told", value="DOMAIN")

COMMANDS = {
    "tls ca create": Command(
        create_ca,
        about="Make a certificate authority for the nodes of a cluster, with a key on curve\n"
        "P-256: mesh-agent-ca.pem, which every node trusts, and mesh-agent-ca-key.pem, which\n"
        "signs. Files that exist are never overwritten.",
        examples=(
            Example("tls ca create", "For the domain mesh, valid for five years"),
            Example("tls ca create --domain example --days 365", "example-agent-ca.pem"),
            Example("tls ca create --name-constraint", "It can sign for names in mesh only"),
        ),
        flags=(
            _DOMAIN,
            Flag("days", f"how long it is valid; {DAYS_OF_CA} unless told", "number", value="DAYS"),
            Flag("common-name", "its name; has a random number unless told", value="NAME"),
            Flag("cluster-id", "name spiffe://ID.DOMAIN in it too", value="ID"),
            Flag(
                "name-constraint",
                "let it sign for names in the domain, and for localhost, only",
                "switch",
            ),
            Flag("additional-name-constraint", "and for names in this one", "list", value="NAME"),
        ),
        asks_agent=False,
    ),
    "tls cert create": Command(
        create_certificate,
        about="Sign a certificate with the authority in this folder, for a server, a client agent\n"
        "or a person: dc1-server-mesh-0.pem and dc1-server-mesh-0-key.pem, with the next number\n"
        "that is free. A server's carries server.DC.DOMAIN and, with --node, the name\n"
        "NODE.server.DC.DOMAIN, without which a server of mesh does not start.",
        examples=(
            Example("tls cert create --server --node s1", "For the server s1"),
            Example("tls cert create --client --node web-1", "For the agent web-1"),
            Example("tls cert create --cli", "For meshctl"),
        ),
        flags=(
            Flag("server", "for a server", "switch"),
            Flag("client", "for a client agent", "switch"),
            Flag("cli", "for people and programs", "switch"),
            Flag("node", "the node_name of the server or agent", value="NAME"),
            Flag("dc", "its datacenter; dc1 unless told", value="NAME"),
            _DOMAIN,
            Flag(
                "days",
                f"how long it is valid; {DAYS_OF_CERTIFICATE} unless told",
                "number",
                value="DAYS",
            ),
            Flag("additional-dnsname", "one more DNS name in it", "list", value="NAME"),
            Flag("additional-ipaddress", "one more IP address in it", "list", value="IP"),
            Flag("ca", "the authority; DOMAIN-agent-ca.pem unless told", value="FILE"),
            Flag("key", "its key; DOMAIN-agent-ca-key.pem unless told", value="FILE"),
        ),
        asks_agent=False,
    ),
}
