"""The reference page of the API: written from the document of the routes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from mesh.http import openapi
from mesh.http.request import JSON
from mesh.http.route import Route
from mesh.http.routes import ROUTES

HEAD = """# The HTTP API

Generated from the table of routes by `./dev run python -m mesh.http.reference > docs/api.md`; edit
the rows beside the handlers in `mesh/http/` instead. Agents serve the same as an OpenAPI 3.1
document at `/v1/openapi.json`.

Names, shapes, status codes and headers are Consul's, so its clients work unchanged.

- A `:name` in a path takes all that follows it, slashes too. `//`, `.` and `..` in a path are
  answered with 301 to the path without them; unprintable characters with 400.
- Every operation takes `dc` (or `datacenter`), `pretty`, and a token, as the header
  `X-Consul-Token`, as `Authorization: Bearer` or, less safely, as `token`. Namespaces and
  partitions (`ns`, `partition`) are refused with 400.
- Reads that take `index` wait until there is something newer. Their answers have the headers
  `X-Consul-Index`, `X-Consul-KnownLeader` and `X-Consul-LastContact`, and come from the leader
  unless `stale`, `max_stale` or `consistent` says otherwise.
- Bodies are JSON unless said otherwise. Names in them are read in any case; an unknown one is
  refused with 400, and `null` leaves a default. A duration is text such as `10s`, or nanoseconds.
- An error is a status and a line of text. Beside those named below: 400 for a parameter, header or
  body that makes no sense, 403 for what the configuration blocks, 404 for a path that is none, 405
  (with `Allow`) for a method that a path has not, HEAD among them, 413 for a body that is too
  large, 429 for too many requests or connections, 500 without a leader or a path to the
  datacenter and for a `filter` that makes no sense, 507 when the servers' disks are full.
- What a `GET` has for a body is ignored. Answers of more than 1,400 bytes are compressed for who
  sends `Accept-Encoding: gzip`.
"""
KINDS = {"present": "switch"}


def page(routes: tuple[Route, ...] = ROUTES) -> str:
    """The page as Markdown: a table for each family of paths, each operation, then the shapes."""
    document = openapi.document(routes)
    lines = [HEAD]
    families: dict[str, list[Route]] = {}
    for route in routes:
        families.setdefault(openapi.family(route), []).append(route)
    for family, some in families.items():
        lines += [f"## {family}", "", "| Method | Path | What it does |", "|---|---|---|"]
        lines += [f"| {r.method} | `{r.path}` | {r.summary} |" for r in some]
        lines.append("")
        for route in some:
            lines += _operation(route, document)
    lines += ["## Shapes", "", "What bodies and answers are made of, by name.", ""]
    for name, schema in document["components"]["schemas"].items():
        lines += _shape(name, schema)
    return "\n".join(lines)


def _operation(route: Route, document: dict[str, Any]) -> Iterator[str]:
    operation = document["paths"][openapi.template(route)][route.method.lower()]
    yield from (f"### {route.method} {route.path}", "", operation["description"], "")
    if route.params:
        yield from ("| Parameter | Kind | What it does |", "|---|---|---|")
        for one in route.params:
            kind = KINDS.get(one.kind, one.kind) + ("; required" if one.required else "")
            kind += "; may repeat" if one.repeats else ""
            yield f"| `{one.name}` | {kind} | {one.about} |"
        yield ""
    if "requestBody" in operation:
        yield f"- Body: {_content(operation['requestBody']['content'])}"
    yield f"- Answer: {_content(operation['responses']['200'].get('content', {}))}"
    yield from (f"- {status}: {about}" for status, about in sorted(route.statuses))
    yield ""


def _content(content: dict[str, Any]) -> str:
    if not content:
        return "empty"
    kinds = [_kind(one["schema"]) for kind, one in content.items() if kind == JSON]
    kinds += ["bytes" if "octet" in kind else f"`{kind}`" for kind in content if kind != JSON]
    return ", or ".join(kinds)


def _shape(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield from (f"### {name}", "", schema.get("description", ""), "")
    yield from ("| Field | Kind | Default | About |", "|---|---|---|---|")
    required = schema.get("required", ())
    for field, one in schema.get("properties", {}).items():
        default = f"`{json.dumps(one['default'])}`" if "default" in one else ""
        if field not in required and not default:
            default = "may be absent"
        yield f"| `{field}` | {_kind(one)} | {default} | {one.get('description', '')} |"
    yield ""


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}" if "items" in schema else "list"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"map to {_kind(inner)}" if isinstance(inner, dict) and inner else "object"
    if schema.get("contentEncoding"):
        return "text in base64"
    kind: str = schema.get("type", "anything")
    return "text" if kind == "string" else kind


if __name__ == "__main__":
    sys.stdout.write(page())
