"""The contract: every answer that a test here gets must be what the OpenAPI document says."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs

from mesh.http import openapi
from mesh.http.request import JSON
from mesh.http.route import Route
from mesh.http.routes import ROUTES, Paths

_PATHS = Paths()
OF_ALL = {301, 400, 403, 413, 429, 500, 507}
"""What any operation may answer, before or after it looked at the request."""


@lru_cache(maxsize=1)
def _document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(openapi.document(ROUTES)))
    for schema in found["components"]["schemas"].values():
        # Readers must bear what is new to them; these tests must not.
        schema["additionalProperties"] = False
    return found


@lru_cache(maxsize=1024)
def _validator(path: str, method: str, status: str, content_type: str) -> Any:
    operation = _document()["paths"][path][method.lower()]
    content = operation["responses"][status].get("content", {})
    assert content_type in content, f"{method} {path} answered {status} with {content_type}"
    schema = {**content[content_type].get("schema", {}), "components": _document()["components"]}
    return jsonschema_rs.Draft202012Validator(schema)


def operation(method: str, target: str) -> Route | None:
    """The route of a request, if it has one."""
    found = _PATHS.find(urlsplit(target).path)
    return found.operations.get(method) if found else None


def verify(route: Route, status: int, content_type: str, body: bytes) -> None:
    """Raise AssertionError unless the document foretells this answer."""
    what = f"{route.method} {route.path}"
    foretold = {200, *OF_ALL, *(one for one, _ in route.statuses)}
    assert status in foretold, f"{what} answered {status}, which its row does not mention"
    if status in {301, 507} or not body:
        return
    validator = _validator(openapi.template(route), route.method, str(status), content_type)
    if content_type == JSON:
        errors = [
            f"{one.instance_path}: {one.message}" for one in validator.iter_errors(json.loads(body))
        ]
        assert not errors, f"{what} answered {status} with another shape: {errors[:3]}"
