"""Service definitions in files: read them, and give their fields the names of the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mesh import codec
from mesh.config import hcl
from mesh.errors import Invalid

# Words that Consul writes whole.
WHOLE_WORDS = {
    "id": "ID",
    "http": "HTTP",
    "https": "HTTPS",
    "tcp": "TCP",
    "udp": "UDP",
    "ttl": "TTL",
    "grpc": "GRPC",
    "tls": "TLS",
    "h2ping": "H2PING",
    "os": "OS",
}
WHOLE_NAMES = {"tcp_use_tls": "TCPUseTLS", "grpc_use_tls": "GRPCUseTLS", "args": "ScriptArgs"}
# What these contain has names of the user's own.
FREE = {"meta", "config", "header"}
NAMED_BY_USER = {"taggedaddresses"}


def read_services(path: str) -> list[dict[str, Any]]:
    """The services that a file defines. Raises Invalid, naming file and field."""
    document = read_document(path)
    if not isinstance(document, dict):
        raise Invalid(f"{path}: expected an object with `service` or `services`")
    fields = {str(name).lower(): value for name, value in document.items()}
    if unknown := sorted(set(fields) - {"service", "services"}):
        raise Invalid(f'{path}: expected `service` or `services`, got "{unknown[0]}"')
    found: list[Any] = []
    for name in ("service", "services"):
        # Blocks of HCL that are there several times are a list.
        given = fields.get(name, [])
        found += given if isinstance(given, list) else [given]
    if not found:
        raise Invalid(f"{path}: there is no service in it")
    for service in found:
        if not isinstance(service, dict):
            raise Invalid(f"{path}: a service is an object with a `name`, got {service!r}")
    return [api_names(service) for service in found]


def read_document(path: str) -> object:
    """What a file of HCL, JSON or YAML says. Raises Invalid, naming the place."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise Invalid(f"cannot read {path}: {reason}") from error
    if path.endswith(".json"):
        try:
            return codec.from_json(text, object)
        except Invalid as error:
            raise Invalid(f"{path}: not JSON: {error}") from error
    if path.endswith(".hcl"):
        try:
            return hcl.parse(text)[0]
        except hcl.SyntaxProblem as error:
            place = f"line {error.line}, column {error.column}"
            raise Invalid(f"{path}: not HCL: {place}: {error}") from error
    if not path.endswith((".yaml", ".yml")):
        raise Invalid(f"{path}: expected a name that ends in .hcl, .json, .yaml or .yml")
    try:
        document: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Invalid(f"{path}: not YAML: {error}") from error
    return document


def api_names(value: Any) -> Any:
    """`tagged_addresses` becomes `TaggedAddresses`, and so on, at every depth."""
    if isinstance(value, list):
        return [api_names(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, item in value.items():
        plain = str(name).lower().replace("_", "")
        if plain in FREE:
            inner = item
        elif plain in NAMED_BY_USER and isinstance(item, dict):
            inner = {key: api_names(each) for key, each in item.items()}
        else:
            inner = api_names(item)
        found[api_name(str(name))] = inner
    return found


def api_name(name: str) -> str:
    """One field's name. What has a capital letter is taken as it is."""
    if name.lower() != name:
        return name
    words = (WHOLE_WORDS.get(word, word.capitalize()) for word in name.split("_"))
    return WHOLE_NAMES.get(name, "".join(words))
