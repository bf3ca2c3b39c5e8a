"""Where the agent is and how to speak with it: from arguments, the environment, or defaults."""

from __future__ import annotations

import os
import ssl
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from mesh.errors import Invalid

DEFAULT_ADDRESS = "127.0.0.1:8500"
DEFAULT_PORT = 8500
PREFIXES = ("MESH_", "CONSUL_")
TRUE = {"1", "t", "true", "yes", "on"}
FALSE = {"0", "f", "false", "no", "off"}


class Endpoint(msgspec.Struct, frozen=True):
    """One address to connect to: a host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    socket_path: str = ""
    tls: bool = False

    def __str__(self) -> str:
        """As a person would write it."""
        if self.socket_path:
            return f"unix://{self.socket_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https://' if self.tls else ''}{host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL for an HTTP library. A unix socket gets a made-up host name."""
        if self.socket_path:
            return "http://localhost"
        return f"{'' if self.tls else 'http://'}{self}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach an agent. `from_environment` fills it as Consul's programs do."""

    address: str = DEFAULT_ADDRESS
    """`host`, `host:port`, `http://...`, `https://...` or `unix:///path`."""
    token: str = ""
    auth: str = ""
    """`user:password` for HTTP basic authentication; empty for none."""
    tls: bool = False
    """Speak TLS even if the address does not say https."""
    verify: bool = True
    """Check the server's certificate."""
    ca_file: str = ""
    ca_path: str = ""
    client_cert: str = ""
    client_key: str = ""
    tls_server_name: str = ""
    """The name the server's certificate must have; empty means the address."""
    timeout_seconds: float = 10.0
    """How long to wait for an answer, beside the wait a blocking read asks for."""

    def endpoint(self) -> Endpoint:
        """The address in its parts. Raises Invalid when it is not one."""
        return parse_address(self.address, tls=self.tls)

    def headers(self) -> dict[str, str]:
        """What every request carries: token and basic authentication."""
        headers = {"X-Consul-Token": self.token} if self.token else {}
        if self.auth:
            headers["Authorization"] = f"Basic {b64encode(self.auth.encode()).decode()}"
        return headers

    def ssl_context(self) -> ssl.SSLContext:
        """The TLS context these settings ask for. Raises Invalid when a file cannot be used."""
        try:
            context = ssl.create_default_context(
                cafile=self.ca_file or None, capath=self.ca_path or None
            )
            if self.client_cert:
                context.load_cert_chain(self.client_cert, self.client_key or None)
        except (OSError, ssl.SSLError) as error:
            files = [self.ca_file, self.ca_path, self.client_cert, self.client_key]
            named = ", ".join(filter(None, files))
            raise Invalid(f"cannot use the TLS files {named}: {error}") from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def parse_address(address: str, *, tls: bool = False) -> Endpoint:
    """Read an address as people write it. Raises Invalid, saying what is expected."""
    expected = f'the address "{address}" is not host:port, http(s)://host:port or unix:///path'
    if address.startswith("unix://"):
        path = address.removeprefix("unix://")
        if not path:
            raise Invalid(expected)
        return Endpoint(socket_path=path)
    scheme, found, rest = address.rpartition("://")
    if found and scheme not in {"http", "https", "tcp"}:
        raise Invalid(expected)
    tls = tls or scheme == "https"
    try:
        parts = urlsplit(f"//{rest}")
        host = parts.hostname or ""
        port = parts.port or (443 if scheme == "https" and not parts.port else DEFAULT_PORT)
    except ValueError as error:
        raise Invalid(expected) from error
    if not host or parts.path.strip("/") or parts.query:
        raise Invalid(expected)
    return Endpoint(host=host, port=port, tls=tls)


def read_token_file(path: str) -> str:
    """The token in a file, without white space around it. Raises Invalid when unreadable."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise Invalid(f"cannot read the token file {path}: {reason}") from error


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from MESH_HTTP_ADDR, MESH_HTTP_TOKEN and so on, else from Consul's names.

    A token file beats a token, as in Consul. Raises Invalid for values that make no sense.
    """
    found = os.environ if environment is None else environment

    def text(name: str) -> str:
        return next((found[prefix + name] for prefix in PREFIXES if found.get(prefix + name)), "")

    token_file = text("HTTP_TOKEN_FILE")
    return Settings(
        address=text("HTTP_ADDR") or DEFAULT_ADDRESS,
        token=read_token_file(token_file) if token_file else text("HTTP_TOKEN"),
        auth=text("HTTP_AUTH"),
        tls=_switch("HTTP_SSL", text("HTTP_SSL"), default=False),
        verify=_switch("HTTP_SSL_VERIFY", text("HTTP_SSL_VERIFY"), default=True),
        ca_file=text("CACERT"),
        ca_path=text("CAPATH"),
        client_cert=text("CLIENT_CERT"),
        client_key=text("CLIENT_KEY"),
        tls_server_name=text("TLS_SERVER_NAME"),
    )


def _switch(name: str, value: str, *, default: bool) -> bool:
    if not value:
        return default
    if value.lower() in TRUE | FALSE:
        return value.lower() in TRUE
    raise Invalid(f'MESH_{name}: expected true or false, got "{value}"')
