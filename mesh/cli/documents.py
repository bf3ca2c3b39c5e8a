"""Documents: JSON or YAML from a file or from standard input, with the names of the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mesh import codec
from mesh.cli.flags import Usage
from mesh.cli.invocation import Invocation
from mesh.errors import Invalid

FREE = {"meta", "nodemeta", "servicemeta", "taggedaddresses", "proxy", "connect", "definition"}
"""What these contain has names of the user's own."""
DOCUMENT_MAX_BYTES = 64 * 1024 * 1024


def read(invocation: Invocation, path: str) -> Any:
    """What a file, or for `-` standard input, says. Raises Usage, naming the place."""
    name = "standard input" if path == "-" else path
    try:
        if path == "-":
            data = invocation.stdin.read(DOCUMENT_MAX_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(DOCUMENT_MAX_BYTES + 1)
    except OSError as error:
        raise Usage(f"cannot read {name}: {(error.strerror or str(error)).lower()}") from error
    if len(data) > DOCUMENT_MAX_BYTES:
        raise Usage(f"{name}: more than {DOCUMENT_MAX_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Usage(f"{name}: it is not text: byte {error.start}") from error
    # YAML takes nearly all of JSON, but its errors about JSON are harder to understand.
    if path.endswith(".json") or text.lstrip()[:1] in {"[", "{"}:
        try:
            return codec.from_json(text, object)
        except Invalid as error:
            if path.endswith(".json"):
                raise Usage(f"{name}: not JSON: {error}") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Usage(f"{name}: not YAML or JSON: {error}") from error


def api_names(value: Any) -> Any:
    """Names without underscores at every depth: the API takes `onlypassing` for `OnlyPassing`."""
    if isinstance(value, list):
        return [api_names(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, item in value.items():
        plain = str(name).replace("_", "")
        found[plain] = item if plain.lower() in FREE else api_names(item)
    return found
