"""Random intentions and requests, and services that make these without a sidecar of their own."""

from __future__ import annotations

import asyncio
import random
import ssl
from typing import Any

from msgspec.structs import replace

from mesh.connect.intentions import Request
from mesh.registry.intentions import (
    Claim,
    HeaderMatch,
    HttpMatch,
    Intention,
    JwtNeed,
    Permission,
    Policy,
)
from tests.connect.xds.sidecars import Mesh
from tests.connect.xds.signing import Issuer

CALLERS = ("web", "API", "web.v2")
SOURCES = ("web", "api", "Web.V2")
"""The callers as intentions spell them."""
PARTS = [
    *("a", "b", "admin", "ADMIN", "%61dmin", "adm%69n", "a.b", "a;x=1", "a%3bx", "%25", "x%20y"),
    *("..", ".", "%2e%2e", "%2E", ".%2e", "", "a%2fb", "a%2Fadmin", "..%2fadmin", "a%5cb", "a\\b"),
]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
VALUES = ["", "1", "one", "One", "one,two", "two", "a b", "%31", "one two", "\xe9"]
HEADERS = ["x-a", "X-A", "x-b", "x_a", "x-forwarded-client-cert"]


class Guess:
    """Makes intentions and requests that often have to do with each other."""

    def __init__(self, seed: int, issuer: Issuer) -> None:
        self.random = random.Random(seed)
        self._issuer = issuer

    def _some(self, items: list[str], most: int = 3) -> list[str]:
        return [self.random.choice(items) for _ in range(self.random.randint(0, most))]

    def path(self) -> str:
        path = "/" + "/".join(self._some(PARTS, 4))
        return path + self.random.choice(["", "", "", "?q=/admin", "?", "#/admin"])

    def policy(self) -> Policy:
        sources = self.random.sample([*SOURCES, "*", "nobody"], self.random.randint(0, 4))
        found = [self._intention(source, "payments") for source in sources]
        found += [
            self._intention(source, "*")
            for source in self.random.sample([*SOURCES, "*"], self.random.randint(0, 2))
        ]
        order = {("*", "*"): 5, ("*", "payments"): 8}
        found = [
            replace(
                one,
                precedence=order.get(
                    (one.source, one.destination), 9 if one.destination == "payments" else 6
                ),
            )
            for one in found
        ]
        found.sort(key=lambda one: (-one.precedence, one.source))
        needs = [self._need()] if self.random.random() < 0.1 else []
        return Policy(destination="payments", intentions=found, jwt=needs)

    def _intention(self, source: str, destination: str) -> Intention:
        fields: dict[str, Any] = {"action": self.random.choice(["allow", "deny"])}
        if destination != "*" and self.random.random() < 0.7:
            several = [self._permission() for _ in range(self.random.randint(1, 3))]
            fields = {"permissions": several}
        tried = self.random.random() < 0.15
        return Intention(source=source, destination=destination, dry_run=tried, **fields)

    def _permission(self) -> Permission:
        return Permission(
            action=self.random.choice(["allow", "deny"]),
            http=self._match() if self.random.random() < 0.9 else None,
            jwt=[self._need()] if self.random.random() < 0.2 else [],
        )

    def _match(self) -> HttpMatch:
        fields: dict[str, Any] = {}
        path = self.path().partition("?")[0].partition("#")[0]
        match self.random.randint(0, 4):
            case 0:
                fields["path_exact"] = path
            case 1:
                fields["path_prefix"] = self.random.choice([path, path[:3], "/admin", "/a"])
            case 2:
                fields["path_regex"] = self.random.choice(
                    [
                        "/a.*",
                        "/(a|b)/?",
                        "/admin(/.*)?",
                        ".*",
                        "/[a-z]+",
                        "/a%2[fF].*",
                        ".*/\\.\\./.*",
                    ]
                )
            case _:
                pass
        if self.random.random() < 0.4:
            fields["methods"] = self.random.sample(METHODS, self.random.randint(1, 3))
        if self.random.random() < 0.5:
            fields["headers"] = [self._header() for _ in range(self.random.randint(1, 2))]
        return HttpMatch(**fields)

    def _header(self) -> HeaderMatch:
        value = self.random.choice([one for one in VALUES if one and one.isascii()])
        way = self.random.choice(["present", "exact", "prefix", "suffix", "contains", "regex"])
        fields: dict[str, Any] = {way: value}
        if way == "present":
            fields = {"present": True}
        if way == "regex":
            fields = {"regex": self.random.choice(["one.*", "[a-z]+", ".*two", "1?", "one,two"])}
        return HeaderMatch(
            name=self.random.choice([*HEADERS[:4], ":method", ":authority", "host"]),
            invert=self.random.random() < 0.3,
            ignore_case=self.random.random() < 0.3 and way != "regex",
            **fields,
        )

    def _need(self) -> JwtNeed:
        claims = []
        if self.random.random() < 0.7:
            path = self.random.choice([["role"], ["org", "unit"], ["org"]])
            claims = [Claim(path=path, value=self.random.choice(["admin", "it", "1"]))]
        return JwtNeed(provider="okta", claims=claims)

    def request(self) -> Request:
        headers = [
            (self.random.choice(HEADERS[:4]), self.random.choice(VALUES))
            for _ in range(self.random.randint(0, 3))
        ]
        tokens: dict[str, dict[str, Any]] = {}
        match self.random.randint(0, 9):
            case 0:
                tokens["okta"] = {"role": "admin", "org": {"unit": "it"}}
            case 1:
                tokens["okta"] = {"role": ["admin"], "org": "it"}
            case 2:
                tokens["okta"] = {"role": 1, "org": {"unit": "admin"}}
            case _:
                pass
        signed = [self._issuer.token(**payload) for payload in tokens.values()]
        headers += [("authorization", f"Bearer {token}") for token in signed]
        headers.insert(0, ("host", self.random.choice(["payments", "One", "one"])))
        return Request(
            method=self.random.choice(METHODS),
            path=self.path(),
            headers=headers,
            tokens=tokens,
        )


class Caller:
    """A service that speaks to the public listener without a sidecar of its own."""

    def __init__(self, mesh: Mesh, name: str) -> None:
        self.name = name
        self._mesh = mesh
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        leaf = mesh.signer.leaf(name)
        file = mesh.folder / f"caller-{name}.pem"
        file.write_text(leaf.certificate + leaf.key)
        self._context.load_cert_chain(file)
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: Request) -> int:
        """The status of the answer."""
        head = [f"{request.method} {request.path} HTTP/1.1"]
        head += [f"{name}: {value}" for name, value in request.headers]
        raw = "\r\n".join([*head, "content-length: 0", "", ""]).encode("latin-1")
        if self._writer is None:
            await self._connect()
        assert self._writer is not None
        self._writer.write(raw)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(answer.split(" ", 2)[1])
        length = answer.partition("content-length: ")[2].partition("\r\n")[0]
        if length and request.method != "HEAD":
            await self._reader.readexactly(int(length))
        if "connection: close" in answer:
            self.close()
        return status

    async def _connect(self) -> None:
        inbound = self._mesh.blueprints["payments"].inbound
        assert inbound is not None
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", inbound.port, ssl=self._context
        )

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None


async def contented(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An application that is content with everything."""
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
