"""/v1/openapi.json: the API as an OpenAPI 3.1 document, made of the table of routes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from mesh import __version__
from mesh.http import respond
from mesh.http.request import JSON, TEXT, Reply, Request
from mesh.http.route import Param, Route
from mesh.http.schemas import Schemas, schemas

ABOUT = """The API of a mesh agent. Paths, parameters, names and statuses are Consul's.

A path's parameter takes all that follows it, slashes too, sent as they are or as `%2F`. Names in
bodies are read in any case; an unknown one is refused. Errors are a line of text. Every operation
takes `dc`, `token` and `pretty`."""
PATTERN_DURATION = r"^(0|[-+]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+)$"
KINDS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer", "minimum": 0, "maximum": 2**64 - 1},
    "boolean": {"type": "boolean"},
    "present": {"type": "boolean", "enum": [True]},
    "duration": {"type": "string", "pattern": PATTERN_DURATION},
}
COMMON = (
    Param("dc", "The datacenter that answers; this agent's own if not given"),
    Param("token", "The secret of who asks; better sent as a header"),
    Param("pretty", "Indent the answer", "present"),
)
READ_HEADERS = {
    "X-Consul-Index": "What to wait for with `index`; at least 1",
    "X-Consul-KnownLeader": "Whether the server that answered knew a leader",
    "X-Consul-LastContact": "Milliseconds since that server heard the leader",
}
FAILED = (
    (400, "A parameter, header or body makes no sense, or names a namespace or partition"),
    (403, "The configuration blocks the endpoint, or the token may not do it"),
    (429, "Too many requests or connections"),
    (500, "No leader, no path to the datacenter, or what else kept it from being done"),
)
TOO_LARGE = (413, "The body is larger than the configuration allows")


def document(routes: tuple[Route, ...]) -> dict[str, Any]:
    """The document of these routes."""
    found = schemas(
        kind
        for route in routes
        for kind in (route.body, route.answer)
        if kind not in {None, bytes, str}
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(template(route), {})[route.method.lower()] = _operation(route, found)
    return {
        "openapi": "3.1.0",
        "info": {"title": "mesh", "version": __version__, "description": ABOUT},
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}, {"bearer": []}],
        "tags": [{"name": name} for name in dict.fromkeys(map(family, routes))],
        "paths": paths,
        "components": {
            "schemas": found.components,
            "parameters": {one.name: _parameter(one) for one in COMMON},
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Consul-Token"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def template(route: Route) -> str:
    """The path as OpenAPI writes it: `/v1/kv/{key}`."""
    return f"{route.fixed}{{{route.parameter}}}{route.tail}" if route.parameter else route.path


def family(route: Route) -> str:
    """What the path is about: `/v1/agent`."""
    return "/".join(route.path.split("/")[:3])


def failures(route: Route) -> dict[int, str]:
    """The statuses beside 200, and what each means: those of its own, then those of all."""
    own = dict(route.statuses)
    shared = dict(FAILED) | dict([TOO_LARGE] if route.body is not None else [])
    return {status: own.get(status) or shared[status] for status in sorted({*own, *shared})}


def _operation(route: Route, found: Schemas) -> dict[str, Any]:
    parameters = [_parameter(one) for one in route.params]
    parameters += [{"$ref": f"#/components/parameters/{one.name}"} for one in COMMON]
    if route.parameter:
        here = {"name": route.parameter, "in": "path", "required": True}
        parameters.insert(0, {**here, "schema": {"type": "string", "minLength": 1}})
    operation: dict[str, Any] = {
        "operationId": _name(route),
        "tags": [family(route)],
        "summary": route.summary,
        "description": inspect.getdoc(route.handler) or "",
        "parameters": parameters,
        "responses": _responses(route, found),
    }
    if route.body is not None:
        operation["requestBody"] = {"content": _content(route.body, found)}
        if route.body is not bytes:
            operation["requestBody"]["required"] = True
    return operation


def _name(route: Route) -> str:
    words = template(route).replace("{", "").replace("}", "").replace(".", "-").split("/")
    return "-".join([route.method.lower(), *filter(None, words[1:])])


def _parameter(one: Param) -> dict[str, Any]:
    schema = KINDS[one.kind]
    found: dict[str, Any] = {
        "name": one.name,
        "in": "query",
        "description": one.about,
        "schema": {"type": "array", "items": schema} if one.repeats else schema,
    }
    if one.required:
        found["required"] = True
    if one.kind in {"boolean", "present"}:
        found["allowEmptyValue"] = True
    return found


def _responses(route: Route, found: Schemas) -> dict[str, Any]:
    raw = route.answer is bytes and route.media
    answer = {} if route.answer is None or raw else _content(route.answer, found)
    answer |= {kind: {"schema": {"type": "string"}} for kind in route.media}
    done: dict[str, Any] = {"description": "Done" if not answer else "The answer"}
    if answer:
        done["content"] = answer
    if any(one.name == "index" for one in route.params):
        done["headers"] = {
            name: {"description": about, "schema": {"type": "string"}}
            for name, about in READ_HEADERS.items()
        }
    text = {TEXT: {"schema": {"type": "string"}}}
    responses = {"200": done}
    for status, about in failures(route).items():
        content = answer | text if status in route.answered else text
        responses[str(status)] = {"description": about, "content": content}
    return responses


def _content(kind: Any, found: Schemas) -> dict[str, Any]:
    if kind is bytes:
        return {"application/octet-stream": {}}
    return {JSON: {"schema": {"type": "string"} if kind is str else found.of[kind]}}


def route(others: tuple[Route, ...]) -> Route:
    """The route that answers with the document of all others and of itself."""
    return Route(
        "GET",
        "/v1/openapi.json",
        _handler(lambda: (*others, route(others))),
        "This API as an OpenAPI 3.1 document",
        answer=dict[str, Any],
    )


def _handler(routes: Callable[[], tuple[Route, ...]]) -> Any:
    @lru_cache(maxsize=1)
    def encoded() -> bytes:
        return respond.json(document(routes())).body

    async def openapi(_: Request) -> Reply:
        """Answer with the document."""
        return Reply(encoded())

    return openapi
