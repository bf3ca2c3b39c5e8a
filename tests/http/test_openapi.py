"""No route without documentation, and none of it wrong."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from mesh.agent.definitions import CheckDefinition, ServiceDefinition
from mesh.agent.reading import OURS
from mesh.http import openapi, reference
from mesh.http.request import Reply, Request
from mesh.http.route import Param, Route
from mesh.http.routes import ROUTES
from mesh.http.schemas import schemas
from mesh.http.shapes_agent import CheckRegistration, ServiceRegistration
from tests.http.reads import reads

DOCUMENT = json.loads(json.dumps(openapi.document(ROUTES)))
OF_ALL = {"dc", "datacenter", "token", "pretty", "ns", "partition"}
UNUSED = {"cached"}  # Read wherever reads are, but only some may be answered from what is held.
UNUSED_BY = {  # They follow nothing.
    "/v1/txn": {"index", "wait"},
    "/v1/query/:idOrName/execute": {"index", "wait"},
    "/v1/query/:idOrName/explain": {"index", "wait"},
    "/v1/connect/intentions/check": {"index", "wait"},
    "/v1/connect/intentions/report": {"index", "wait"},
}
RAW = {dict[str, Any], bytes, None}


each = pytest.mark.parametrize(
    "route", [pytest.param(one, id=f"{one.method} {one.path}") for one in ROUTES]
)


@each
def test_parameters_are_documented_and_read(route: Route) -> None:
    found = reads(route.handler)
    told = {one.name: one for one in route.params}
    read = (found.params | found.present) - OF_ALL
    assert len(told) == len(route.params), "a parameter is there twice"
    untold = read - UNUSED - UNUSED_BY.get(route.path, set()) - set(told)
    assert not untold, f"undocumented: {untold}"
    assert set(told) <= read, f"documented, but not read: {set(told) - read}"
    for one in route.params:
        assert one.about.strip().rstrip(".") == one.about, one.name
        if one.name in found.params:
            assert one.kind != "present", one.name


@each
def test_bodies_are_documented_and_read(route: Route) -> None:
    kinds = [kind for kind in reads(route.handler).bodies if kind is not bytes]
    assert kinds == [] or route.body in kinds, f"the body is read as {kinds}"
    assert bool(reads(route.handler).bodies) == (route.body is not None)


@each
def test_answers_are_documented(route: Route) -> None:
    makers = reads(route.handler).answers
    if makers & {"json", "answered"}:
        assert route.answer is not None
    if "boolean" in makers and not makers & {"json", "answered"}:
        assert route.answer is bool
    assert set(route.answered) <= {status for status, _ in route.statuses}
    assert all(about and not about.endswith(".") for _, about in route.statuses)
    assert route.handler.__doc__


def test_a_route_without_documentation_is_refused() -> None:
    async def handler(request: Request) -> Reply:
        return Reply(request.body if request.param("secret") else b"")

    bare = Route("PUT", "/v1/bare", handler, "Bare")
    for test in (test_parameters_are_documented_and_read, test_bodies_are_documented_and_read):
        with pytest.raises(AssertionError):
            test(bare)
    with pytest.raises(AssertionError):
        test_answers_are_documented(bare)
    wrong = msgspec.structs.replace(bare, body=bytes, params=(Param("other", "Nothing"),))
    with pytest.raises(AssertionError, match="undocumented"):
        test_parameters_are_documented_and_read(wrong)


def test_the_document_is_openapi() -> None:
    validator = jsonschema_rs.Draft202012Validator(OPENAPI_31)
    assert [error.message for error in validator.iter_errors(DOCUMENT)] == []
    operations = [one for path in DOCUMENT["paths"].values() for one in path.values()]
    assert len(operations) == len(ROUTES)
    assert len({one["operationId"] for one in operations}) == len(ROUTES)


def test_every_schema_is_one() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    text = json.dumps(DOCUMENT)
    for name in DOCUMENT["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text, name


def test_shapes_of_one_name_are_told_apart() -> None:
    found = schemas([route.answer for route in ROUTES if route.answer not in RAW])
    assert {"UpgradeServer", "CoordinateServer", "Node"} <= set(found.components)
    fields = found.components["UpgradeServer"]["properties"]
    assert set(fields) == {"Name", "Status", "LevelMin", "LevelMax"}
    about = found.components["Upgrade"]["properties"]["LevelMax"]
    assert about == {"type": "integer", "description": "The highest that some server speaks."}


@pytest.mark.parametrize(
    ("shape", "definition"),
    [(CheckRegistration, CheckDefinition), (ServiceRegistration, ServiceDefinition)],
)
def test_registrations_are_what_definitions_read(shape: Any, definition: Any) -> None:
    """The bodies of registrations are read by definitions: the shapes only describe them."""
    aliases = {"check_id", "script_args", "service", "check"}
    told = {field.name for field in msgspec.structs.fields(shape)} - aliases
    assert told == {field.name for field in msgspec.structs.fields(definition)} - OURS


def test_the_page_tells_every_operation_and_shape() -> None:
    page = reference.page()
    for route in ROUTES:
        assert f"\n### {route.method} {route.path}\n" in page
    for name in DOCUMENT["components"]["schemas"]:
        assert f"\n### {name}\n" in page
